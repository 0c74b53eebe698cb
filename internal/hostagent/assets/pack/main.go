// Command pack makes the guest agents that the assets package embeds, from the very version of Lima that the product
// links. It does nothing when they are up to date: the Go build cache tells.
package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	source = "github.com/lima-vm/lima/v2/cmd/lima-guestagent"
	target = "internal/hostagent/assets"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run() error {
	if _, err := os.Stat(target); err != nil {
		return fmt.Errorf("cannot find %s: run this in the root of the repository: %w", target, err)
	}
	work, err := os.MkdirTemp("", "guestagent-")
	if err != nil {
		return fmt.Errorf("cannot make a work directory: %w", err)
	}
	defer os.RemoveAll(work)
	for arch, name := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		binary := filepath.Join(work, name)
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-buildvcs=false", "-o", binary, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("cannot build the guest agent for %s: %w", arch, err)
		}
		if err := pack(binary, filepath.Join(target, "lima-guestagent.Linux-"+name+".gz")); err != nil {
			return fmt.Errorf("cannot pack the guest agent for %s: %w", arch, err)
		}
	}
	return nil
}

// pack compresses binary into path, unless path holds it already: the header's comment is the checksum of the content.
func pack(binary, path string) error {
	from, err := os.Open(binary)
	if err != nil {
		return err
	}
	defer from.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, from); err != nil {
		return err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if packedSum(path) == sum {
		return nil
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".guestagent-*")
	if err != nil {
		return err
	}
	if err := errors.Join(compress(temp, from, sum), temp.Chmod(0o644), temp.Close()); err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return os.Rename(temp.Name(), path)
}

func compress(to io.Writer, from io.Reader, sum string) error {
	w, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	w.Comment = sum
	if _, err := io.Copy(w, from); err != nil {
		return err
	}
	return w.Close()
}

func packedSum(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		return ""
	}
	return packed.Comment
}
