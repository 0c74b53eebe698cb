package lima

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// pair makes a private key, with a passphrase if there is one, and its public key.
func pair(t *testing.T, passphrase string) (private, public []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, keyComment)
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, keyComment, []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), authorizedKey(signer.PublicKey())
}

// keysIn prepares keys in a directory of their own; nil stands for a file that is missing.
func keysIn(t *testing.T, private, public []byte) *keys {
	t.Helper()
	k := newKeys(t.TempDir())
	if err := os.MkdirAll(filepath.Dir(k.private), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{k.private: private, k.public: public} {
		if content == nil {
			continue
		}
		if err := os.WriteFile(path, content, 0o644); err != nil { // a private key that ssh would refuse
			t.Fatal(err)
		}
	}
	return k
}

// files is what is in the directory of the keys, by name.
func (k *keys) files(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(k.private))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(k.private), entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = string(text)
	}
	return all
}

// checkPair holds what is there to what Lima and ssh want.
func (k *keys) checkPair(t *testing.T) (private string) {
	t.Helper()
	files := k.files(t)
	key, err := ssh.ParsePrivateKey([]byte(files["user"]))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(files["user.pub"]))
	if err != nil || len(rest) != 0 {
		t.Fatalf("public key %q, %v", files["user.pub"], err)
	}
	if !bytes.Equal(line.Marshal(), key.PublicKey().Marshal()) {
		t.Error("the keys are no pair")
	}
	if info, err := os.Stat(k.private); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key has mode %v, %v", info.Mode(), err)
	}
	return files["user"]
}

func contains(files map[string]string, content []byte) bool {
	for _, text := range files {
		if text == string(content) {
			return true
		}
	}
	return false
}

// TestEveryStateOfTheKeysIsRepaired goes through the whole matrix: a good private key stays, and whatever else had a
// content is kept under another name, and told.
func TestEveryStateOfTheKeysIsRepaired(t *testing.T) {
	good, itsPublic := pair(t, "")
	locked, lockedPublic := pair(t, "a passphrase")
	_, strange := pair(t, "")
	for privateName, private := range map[string][]byte{
		"missing": nil, "empty": {}, "corrupt": []byte("precious, in a format of its own"), "good": good, "locked": locked,
	} {
		matching := itsPublic
		if privateName == "locked" {
			matching = lockedPublic
		}
		for publicName, public := range map[string][]byte{
			"missing": nil, "empty": {}, "corrupt": []byte("ssh-ed25519 AAAA"), "another's": strange, "its own": matching,
		} {
			t.Run(privateName+", public "+publicName, func(t *testing.T) {
				k := keysIn(t, private, public)
				notices, err := k.ensure()
				if err != nil {
					t.Fatal(err)
				}
				now := k.checkPair(t)
				if privateName == "good" && now != string(good) {
					t.Error("a private key that works was replaced")
				}
				files, asides := k.files(t), 0
				for _, content := range [][]byte{private, public} {
					if len(content) == 0 {
						continue
					}
					if !contains(files, content) {
						t.Errorf("lost: %q", content)
					}
					if string(content) != files["user"] && string(content) != files["user.pub"] {
						asides++
					}
				}
				if len(files) != 2+asides || len(notices) != asides {
					t.Errorf("%d were moved aside; there are %d files, told %+v", asides, len(files), notices)
				}
				if again, err := k.ensure(); err != nil || len(again) != 0 || k.checkPair(t) != now {
					t.Errorf("done again, it is not the same: %+v, %v", again, err)
				}
			})
		}
	}
}

// TestKeysAreMadeOnceByMany has the VMs of one daemon start at once; and, where there is no key at all, several processes,
// as it were, each with a lock of its own.
func TestKeysAreMadeOnceByMany(t *testing.T) {
	for _, test := range []struct {
		name    string
		private []byte
		apart   bool
	}{{"missing", nil, false}, {"missing, several processes", nil, true}, {"empty", []byte{}, false}, {"corrupt", []byte("corrupt"), false}} {
		t.Run(test.name, func(t *testing.T) {
			k := keysIn(t, test.private, nil)
			var mu sync.Mutex
			seen := map[string]bool{}
			var wg sync.WaitGroup
			for range 16 {
				mine := k
				if test.apart {
					mine = &keys{private: k.private, public: k.public}
				}
				wg.Go(func() {
					_, err := mine.ensure()
					text, readErr := os.ReadFile(k.private)
					if err := errors.Join(err, readErr); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					seen[string(text)] = true
				})
			}
			wg.Wait()
			k.checkPair(t)
			if len(seen) != 1 {
				t.Errorf("%d private keys were in use", len(seen))
			}
		})
	}
}

// TestFailedPublicKeyTakesThePrivateOneBack lets the second half fail: nothing may have changed then.
func TestFailedPublicKeyTakesThePrivateOneBack(t *testing.T) {
	k := keysIn(t, []byte("corrupt"), nil)
	k.public = filepath.Join(k.private+".missing", "user.pub") // in a directory that does not exist
	if _, err := k.ensure(); err == nil || !strings.Contains(err.Error(), "ssh keys") {
		t.Fatalf("%v", err)
	}
	if files := k.files(t); len(files) != 1 || files["user"] != "corrupt" {
		t.Errorf("left: %q", files)
	}
}

// TestStaleTemporaryFilesAreSwept leaves what a crash leaves.
func TestStaleTemporaryFilesAreSwept(t *testing.T) {
	k := keysIn(t, nil, nil)
	for _, name := range []string{".user.1.tmp", ".user.pub.2.tmp"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(k.private), name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.ensure(); err != nil {
		t.Fatal(err)
	}
	k.checkPair(t)
	if files := k.files(t); len(files) != 2 {
		t.Errorf("left: %q", files)
	}
}
