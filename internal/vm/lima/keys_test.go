package lima

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func readKeys(t *testing.T, home string) (private, public []byte) {
	t.Helper()
	private, err := os.ReadFile(filepath.Join(home, "_config", "user"))
	if err != nil {
		t.Fatal(err)
	}
	public, err = os.ReadFile(filepath.Join(home, "_config", "user.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

func checkPair(t *testing.T, private, public []byte) {
	t.Helper()
	key, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	line, comment, _, rest, err := ssh.ParseAuthorizedKey(public)
	if err != nil || comment != "lima" || len(rest) != 0 {
		t.Fatalf("public key %q: comment %q, rest %q, %v", public, comment, rest, err)
	}
	if !bytes.Equal(line.Marshal(), key.PublicKey().Marshal()) {
		t.Error("the keys are no pair")
	}
	if line.Type() != ssh.KeyAlgoED25519 {
		t.Errorf("a key of type %s", line.Type())
	}
}

func TestKeysAreMadeOnceByMany(t *testing.T) {
	home := t.TempDir()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := ensureKeys(home); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	private, public := readKeys(t, home)
	checkPair(t, private, public)
	if info, err := os.Stat(filepath.Join(home, "_config", "user")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key has mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Join(home, "_config"))
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := ensureKeys(home); err != nil {
		t.Fatal(err)
	}
	if again, _ := readKeys(t, home); !bytes.Equal(again, private) {
		t.Error("a private key was replaced")
	}
}

func TestMissingPublicKeyIsDerived(t *testing.T) {
	home := t.TempDir()
	if err := ensureKeys(home); err != nil {
		t.Fatal(err)
	}
	private, want := readKeys(t, home)
	if err := os.Remove(filepath.Join(home, "_config", "user.pub")); err != nil {
		t.Fatal(err)
	}
	if err := ensureKeys(home); err != nil {
		t.Fatal(err)
	}
	again, public := readKeys(t, home)
	if !bytes.Equal(again, private) || !bytes.Equal(public, want) {
		t.Error("another pair")
	}
}

func TestUnusablePrivateKeyIsKept(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "_config", "user")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious, in a format of its own"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ensureKeys(home); err == nil || !strings.Contains(err.Error(), "public ssh key") {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "precious") {
		t.Errorf("the private key is now %q, %v", text, err)
	}
}
