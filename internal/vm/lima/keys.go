package lima

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// ensureKeys makes the key pair that Lima puts into every guest, before Lima needs it: Lima would run ssh-keygen, which two
// instances that start at once make ask a question, and which fails on Windows. A private key that is there is never
// replaced; a public key that is missing is derived from it.
//
// Callers may race, also from several processes: only one private key gets its name.
func ensureKeys(home string) error {
	dir := filepath.Join(home, "_config")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory of the ssh keys: %w", err)
	}
	private := filepath.Join(dir, "user")
	if _, err := os.Stat(private); errors.Is(err, fs.ErrNotExist) {
		if err := makePrivateKey(private); err != nil {
			return fmt.Errorf("cannot make the private ssh key: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("cannot look for the private ssh key: %w", err)
	}
	public := private + ".pub"
	if _, err := os.Stat(public); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := publicKeyOf(private)
	if err == nil {
		err = replaceFile(public, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot make the public ssh key: %w", err)
	}
	return nil
}

// makePrivateKey writes a new key under a temporary name and links it to path, which fails when somebody was faster: then
// theirs is the key.
func makePrivateKey(path string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(key, "lima")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".user-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(pem.EncodeToMemory(block))
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func publicKeyOf(private string) ([]byte, error) {
	text, err := os.ReadFile(private)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	line := ssh.MarshalAuthorizedKey(key.PublicKey())
	return append(line[:len(line)-1], " lima\n"...), nil
}
