package lima

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/durable"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// keys is the key pair that Lima puts into every guest. It is made ready before Lima needs it: Lima would run ssh-keygen,
// which asks a question where files are left of an earlier try, and fails on Windows.
//
// A private key that works is never replaced. What cannot be used is moved aside, never deleted: an empty file excepted.
// Others (limactl) may make keys at the same moment: a private key gets its name by a link, which fails where there is one.
type keys struct {
	mu      sync.Mutex
	private string
	public  string
}

// keyTries bounds how often somebody else may be faster.
const keyTries = 5

var errFaster = errors.New("somebody else is changing the ssh keys")

func newKeys(home string) *keys {
	private := filepath.Join(home, "_config", "user")
	return &keys{private: private, public: private + ".pub"}
}

// sweep removes the temporary files of a daemon that was killed, those of the public key included. It is called before
// anybody can be making keys.
func (k *keys) sweep() error { return durable.Sweep(k.private) }

// ensure repairs the pair, and tells what it has moved aside.
func (k *keys) ensure() ([]vm.Notice, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(k.private), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the ssh keys: %w", err)
	}
	var notices []vm.Notice
	err := errFaster
	for try := 0; try < keyTries && errors.Is(err, errFaster); try++ {
		err = k.repair(&notices)
	}
	if err != nil {
		return notices, fmt.Errorf("cannot make the ssh keys in %s ready: %w", filepath.Dir(k.private), err)
	}
	return notices, nil
}

func (k *keys) repair(notices *[]vm.Notice) error {
	key, err := readPrivateKey(k.private)
	if err == nil {
		return k.complete(key, notices)
	}
	if missing := errors.Is(err, fs.ErrNotExist); missing || errors.As(err, new(unusable)) {
		return k.renew(missing, notices)
	}
	return err // it may well be usable: nobody could look
}

// unusable says why a private key can never serve.
type unusable string

func (u unusable) Error() string { return string(u) }

// readPrivateKey fails with an unusable where the file was read, and is of no use to Lima: nobody is there to type a
// passphrase.
func readPrivateKey(path string) (ssh.PublicKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, unusable("it is not a file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	switch {
	case err == nil:
		return signer.PublicKey(), nil
	case errors.As(err, new(*ssh.PassphraseMissingError)):
		return nil, unusable("it is protected by a passphrase")
	}
	return nil, unusable(fmt.Sprintf("it is no private key: %v", err))
}

// complete sees to it that ssh takes the private key, and that the public key belongs to it.
func (k *keys) complete(key ssh.PublicKey, notices *[]vm.Notice) error {
	if err := closeToOthers(k.private); err != nil {
		return err
	}
	aside := ""
	if text, err := os.ReadFile(k.public); !errors.Is(err, fs.ErrNotExist) {
		found, _, _, _, parseErr := ssh.ParseAuthorizedKey(text)
		if err == nil && parseErr == nil && bytes.Equal(found.Marshal(), key.Marshal()) {
			return nil
		}
		if aside, err = setAside(k.public); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(k.public, authorizedKey(key), 0o644); err != nil {
		return errors.Join(err, putBack(aside, k.public))
	}
	tellAside(notices, aside, k.public, "it does not belong to the private key")
	return nil
}

// renew makes a pair where there is no private key that could be used. If the second half cannot be written, the first is
// taken back.
func (k *keys) renew(missing bool, notices *[]vm.Notice) error {
	public, text, err := newPrivateKey()
	if err != nil {
		return err
	}
	temp, err := durable.WriteTemp(k.private, text, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	aside := ""
	if !missing {
		if aside, err = setAside(k.private); err != nil {
			return err
		}
		crashpoint.At(crashpoint.KeyAside)
	}
	if aside != "" {
		// Whatever was moved is looked at once more: somebody may have made a key there meanwhile.
		if _, err := readPrivateKey(aside); err == nil {
			return errors.Join(errFaster, putBack(aside, k.private))
		}
	}
	switch err := os.Link(temp, k.private); {
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist): // they have a key, or have swept ours away
		return errors.Join(errFaster, putBack(aside, k.private))
	case err != nil:
		return errors.Join(err, putBack(aside, k.private))
	}
	crashpoint.At(crashpoint.KeyLinked)
	if err := k.complete(public, notices); err != nil {
		return errors.Join(err, os.Remove(k.private), putBack(aside, k.private))
	}
	tellAside(notices, aside, k.private, "it cannot be used without somebody who types")
	return durable.SyncDir(filepath.Dir(k.private))
}

func newPrivateKey() (ssh.PublicKey, []byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, keyComment)
	if err != nil {
		return nil, nil, err
	}
	return public, pem.EncodeToMemory(block), nil
}

// keyComment is what Lima has ssh-keygen write.
const keyComment = "lima"

func authorizedKey(key ssh.PublicKey) []byte {
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(key), []byte("\n"))
	return append(line, " "+keyComment+"\n"...)
}

// setAside moves what is at path to a name of its own beside it, and returns that. What turns out to be empty goes, and
// nothing is returned.
func setAside(path string) (string, error) {
	aside := path + ".unusable-" + time.Now().UTC().Format("20060102T150405.000000000")
	switch err := durable.Rename(path, aside); {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	}
	if info, err := os.Lstat(aside); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		return "", os.Remove(aside)
	}
	return aside, nil
}

// putBack undoes setAside, unless there is something at path again.
func putBack(aside, path string) error {
	if aside == "" {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Rename(aside, path)
}

func tellAside(notices *[]vm.Notice, aside, path, why string) {
	if aside != "" {
		*notices = append(*notices, vm.Notice{
			Warning: true, Reason: "LeftoverMoved",
			Message: fmt.Sprintf("the ssh key %s was replaced, because %s; it is kept as %s", path, why, filepath.Base(aside)),
		})
	}
}

// closeToOthers takes from others what would keep ssh from using a private key. Where files have no such permissions there
// is nothing to take.
func closeToOthers(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(path, 0o600)
}
