package private

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// TooOpenError says that others than the owner can get at something.
type TooOpenError struct{ Path, Problem string }

func (e *TooOpenError) Error() string {
	return fmt.Sprintf("%s %s; \"rdd doctor --fix\" mends it", e.Path, e.Problem)
}

// Paths lists what of an instance nobody but its owner may get at, whether it is there or not. Sockets are not in it: they lie in
// these directories, where nobody else can reach them.
func Paths(inst instance.Instance) []string {
	paths := []string{
		inst.Dir, inst.ShortDir, inst.RequestsDir(), inst.TLSDir(), inst.Kubeconfig(), inst.StoreFile(), inst.SettingsFile(),
		inst.RecordFile(), inst.Records(),
	}
	for _, in := range []struct{ dir, pattern string }{
		{inst.TLSDir(), "*"}, {inst.Records(), filepath.Base(inst.RecordDir("*")) + "/record.json"},
		{inst.Dir, filepath.Base(inst.ControllersToken("*"))}, {inst.Dir, filepath.Base(inst.ControllersKubeconfig("*"))},
	} {
		more, _ := fs.Glob(os.DirFS(in.dir), in.pattern) // the patterns are well-formed; a directory may have brackets in its name
		for _, name := range more {
			paths = append(paths, filepath.Join(in.dir, filepath.FromSlash(name)))
		}
	}
	return paths
}

// Problem tells how others can get at a path; it is empty where they cannot, and where there is nothing. Links are not followed:
// what somebody has linked to is theirs to protect.
func Problem(path string) (string, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return problem(path, info)
}

// Check returns a *TooOpenError where others can get at something of an instance.
func Check(inst instance.Instance) error {
	for _, path := range Paths(inst) {
		found, err := Problem(path)
		if err != nil {
			return fmt.Errorf("cannot tell who can get at %s: %w", path, err)
		}
		if found != "" {
			return &TooOpenError{path, found}
		}
	}
	return nil
}
