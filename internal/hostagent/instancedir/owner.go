package instancedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-192657fa/rdd/internal/durable"
)

// Trash is where what rdd did not make, and what stood in the way, is kept until its owner takes it away.
func Trash(home string) string { return filepath.Join(home, "_trash") }

// mark is the file in an instance's directory that names its owner.
func (d Dir) mark() string { return filepath.Join(d.Path(), "rdd.owner") }

// Mark makes the directory that of owner.
func (d Dir) Mark(owner string) error {
	if err := durable.WriteFile(d.mark(), []byte(owner+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot mark the instance's directory as ours: %w", err)
	}
	return nil
}

// Owner returns who the directory was marked for, and nothing if it was not.
func (d Dir) Owner() (string, error) {
	text, err := os.ReadFile(d.mark())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot tell whose the instance's directory is: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// MoveAside moves what is at Path, whatever it is, into the trash, and returns its new place.
func (d Dir) MoveAside() (string, error) {
	if err := os.MkdirAll(Trash(d.Home), 0o700); err != nil {
		return "", fmt.Errorf("cannot make the trash: %w", err)
	}
	aside := filepath.Join(Trash(d.Home), d.Name+"-"+time.Now().UTC().Format("20060102T150405.000000000"))
	if err := durable.Rename(d.Path(), aside); err != nil {
		return "", fmt.Errorf("cannot move what is in the way aside: %w", err)
	}
	return aside, nil
}

// grave is where the directory goes before it is deleted. Its name need not be proven there: it is a part of the record.
func (d Dir) grave() string { return filepath.Join(d.RecordDir(), "deleted") }

// Deletable refuses a link in the place of the instance's directory. Only the link would go, while its disks, which the owner has put
// elsewhere, would stay for ever; and to delete through a link is to trust whoever made it.
func (d Dir) Deletable() error {
	info, err := os.Lstat(d.Path())
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot look at the instance's directory: %w", err)
	case err == nil && !info.IsDir(): // a junction of Windows, too
		return fmt.Errorf("%s is a link and not a directory, and nothing is deleted through links: "+
			"put the directory back in its place, or remove both it and the link", d.Path())
	}
	return nil
}

// Bury moves the instance's directory, all at once, to where it is known to be ours and about to be deleted, and returns that
// place. A deletion that dies half-way leaves nothing at Path, where others may make something at any time.
func (d Dir) Bury() (string, error) {
	if err := errors.Join(d.Deletable(), d.EmptyGrave()); err != nil {
		return "", err
	}
	if err := durable.Rename(d.Path(), d.grave()); err != nil {
		return "", fmt.Errorf("cannot move the instance's directory to where it is deleted: %w", err)
	}
	return d.grave(), nil
}

// EmptyGrave deletes what was buried.
func (d Dir) EmptyGrave() error {
	if err := os.RemoveAll(d.grave()); err != nil {
		return fmt.Errorf("cannot remove the instance's directory: %w", err)
	}
	return nil
}
