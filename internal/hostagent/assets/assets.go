// Package assets owns the guest agents that are embedded in the binary: Lima copies one into each guest at every boot.
package assets

import (
	"compress/gzip"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// files holds lima-guestagent.OS-ARCH.gz as the build made them. The pattern also matches the README, because a pattern
// that matches nothing would keep a clean checkout from compiling.
//
//go:embed *.[gm][zd]
var files embed.FS

// ErrNotEmbedded says that this binary was built without the guest agent that is asked for.
var ErrNotEmbedded = errors.New("this binary was built without it: use `make build`")

// GuestAgent returns the path of the guest agent for a guest's operating system and architecture, in Lima's words
// ("Linux", "x86_64"). It is unpacked into dir when it is not there yet; several processes may do so at once.
func GuestAgent(dir, guestOS, arch string) (string, error) {
	name := fmt.Sprintf("lima-guestagent.%s-%s", guestOS, arch)
	file, err := files.Open(name + ".gz")
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot find the guest agent for %s on %s: %w", guestOS, arch, ErrNotEmbedded)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the guest agent for %s on %s: %w", guestOS, arch, err)
	}
	defer file.Close()
	packed, ok := file.(io.ReadSeeker) // an embedded file is one, so that its megabytes need not be copied
	if !ok {
		return "", fmt.Errorf("cannot read the guest agent for %s on %s: it is a %T", guestOS, arch, file)
	}
	path, err := unpack(dir, name, packed)
	if err != nil {
		return "", fmt.Errorf("cannot unpack the guest agent for %s on %s: %w", guestOS, arch, err)
	}
	return path, nil
}

// unpack is content-addressed by what a gzip file ends with: checksum and size of what it holds. A new version so gets a
// name of its own, and one that is there is complete, because it got its name last.
func unpack(dir, name string, packed io.ReadSeeker) (string, error) {
	var trailer [8]byte
	if _, err := packed.Seek(-int64(len(trailer)), io.SeekEnd); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(packed, trailer[:]); err != nil {
		return "", err
	}
	sum, size := binary.LittleEndian.Uint32(trailer[:4]), binary.LittleEndian.Uint32(trailer[4:])
	path := filepath.Join(dir, fmt.Sprintf("%s-%08x", name, sum))
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == int64(size) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	temp, err := os.CreateTemp(dir, name+"-*.tmp")
	if err != nil {
		return "", err
	}
	err = errors.Join(expand(temp, packed), temp.Chmod(0o755), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(temp.Name()))
	}
	return path, nil
}

func expand(to io.Writer, packed io.ReadSeeker) error {
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return err
	}
	from, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return err
}
