package instancedir

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsersAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		settle func(t *testing.T, d Dir)
		want   string
	}{
		"a working directory": {func(t *testing.T, d Dir) { lives(t, d.Path(), "") }, "(sh) has its working directory there"},
		"one below":           {func(t *testing.T, d Dir) { lives(t, d.Path(), "mkdir x; cd x; ") }, "(sh) has its working directory there"},
		"an open file":        {func(t *testing.T, d Dir) { lives(t, "/", "exec 3>"+d.Path()+"/disk; ") }, "(sh) has disk open"},
		"a program": {func(t *testing.T, d Dir) {
			program, err := exec.LookPath("sleep")
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(program)
			if err == nil {
				err = os.WriteFile(filepath.Join(d.Path(), "prog"), text, 0o700)
			}
			cmd := exec.Command(filepath.Join(d.Path(), "prog"), "1000")
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
		}, "(prog) was started from there"},
	} {
		t.Run(name, func(t *testing.T) {
			d := place(t, nil)
			d.Home = linked(t, d.Home)
			test.settle(t, d)
			if text := told(t, d); !strings.HasSuffix(text, test.want) {
				t.Errorf("told: %q", text)
			}
		})
	}
}

// linked is a way to dir over a link, as LIMA_HOME may be one.
func linked(t *testing.T, dir string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	return link
}
