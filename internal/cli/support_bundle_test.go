package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// TestABundleOnStandardOutput is of a home directory that means something in a pattern: the secrets must be found all the same.
func TestABundleOnStandardOutput(t *testing.T) {
	home := filepath.Join(t.TempDir(), "[home]")
	inst, err := instance.New("", instance.Env{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		inst.ControllersToken("lima"): "swordfish-in-a-file", inst.AgentLog("dev"): "it is swordfish-in-a-file\n", inst.WorkerLog("dev"): "made\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(t.TempDir())
	stdout, stderr, code := rdd(t, home, nil, "support-bundle", "--file=-")
	if code != 0 {
		t.Fatal(stderr)
	}
	unzipped, err := gzip.NewReader(bytes.NewBufferString(stdout))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[name] = string(content)
	}
	if files["vms/dev/ha.stderr.log"] != "it is REMOVED\n" || files["vms/_rdd/dev/worker.log"] != "made\n" {
		t.Errorf("%q, %q", files["vms/dev/ha.stderr.log"], files["vms/_rdd/dev/worker.log"])
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
