//go:build !darwin || cgo

// Lima's hostagent, which these tests run, needs cgo on a Mac.

package lima_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/hostagent"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
	"github.com/seed-192657fa/rdd/internal/vm/vmtest"
	"github.com/seed-192657fa/rdd/internal/wsl/wsltest"
	"github.com/seed-192657fa/rdd/process"
)

// TestMain makes the test binary what the daemon's children are started from.
func TestMain(m *testing.M) {
	if code, played := wsltest.Play(); played {
		os.Exit(code)
	}
	if len(os.Args) > 1 && (os.Args[1] == "hostagent" || os.Args[1] == "usernet") {
		root := &cobra.Command{Use: "rdd", SilenceErrors: true}
		root.AddCommand(hostagent.Commands()...)
		if err := root.ExecuteContext(context.Background()); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	agents, err := os.MkdirTemp("", "rdd-agents-")
	if err != nil {
		panic(err)
	}
	guestAgents = agents
	code := m.Run()
	_ = os.RemoveAll(agents)
	os.Exit(code)
}

// guestAgents is shared by all tests of one run, so that the guest agent is unpacked once.
var guestAgents string

// template is that of the small guest: "guest" with a guest agent, "guest-plain" without.
func template(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var build = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../../../test/guest/build")
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	return strings.TrimSpace(string(output)), err
})

// home is a LIMA_HOME whose sockets fit, and which takes along whatever still runs in it.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "rdd") //nolint:usetesting // the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		records, err := os.ReadDir(instancedir.Records(dir))
		if err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for _, record := range records {
			if _, err := (instancedir.Dir{Home: dir, Name: record.Name()}).EndFamily(ctx); err != nil {
				t.Error(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func config(t *testing.T, home string, notify func(string)) lima.Config {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return lima.Config{
		Home: home, Executable: executable, GuestAgentDir: guestAgents, Notify: notify,
		Env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// open makes a driver, which the test closes; what it ran is ended by home.
func open(t *testing.T, home string, notify func(string)) *lima.Driver {
	t.Helper()
	driver, err := lima.New(config(t, home, notify))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	})
	return driver
}

func TestConformance(t *testing.T) {
	plain := template(t, "guest-plain")
	vmtest.Run(t, func(t *testing.T, notify func(string)) vmtest.Harness {
		home := home(t)
		driver := open(t, home, notify)
		return vmtest.Harness{
			Driver: driver,
			Good:   plain,
			Other:  append([]byte(strings.Replace(string(plain), "cpus: 2", "cpus: 1", 1)), "\n# other\n"...),
			Bad:    append([]byte(nil), strings.Replace(string(plain), "memory: 512MiB", "memory: plenty", 1)...),
			Reopen: func(t *testing.T, notify func(string)) vm.Driver {
				return open(t, home, notify)
			},
			Crash: func(t *testing.T, name string) {
				kill(t, agentOf(t, home, name))
			},
			PlantForeign: func(t *testing.T, name string) func(bool) { return plant(t, home, name) },
			Patience:     4 * time.Minute,
			Grace:        time.Minute,
		}
	})
}

// agentOf finds the agent by the ledger that it keeps, without asking any driver.
func agentOf(t *testing.T, home, name string) process.Identity {
	t.Helper()
	family, err := process.ReadFamily(instancedir.Dir{Home: home, Name: name}.Ledger())
	if err != nil {
		t.Fatal(err)
	}
	return family.Head
}

func kill(t *testing.T, id process.Identity) {
	t.Helper()
	handle, err := process.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if err := handle.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := handle.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// plant makes what looks like an instance that limactl made.
func plant(t *testing.T, home, name string) (unchanged func(aside bool)) {
	t.Helper()
	dir := filepath.Join(home, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf("images: []\n# %s\n", dir)
	files := map[string]string{"lima.yaml": content, "ha.pid": "4194303\n", "disk": "precious"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(aside bool) {
		t.Helper()
		if aside {
			moved, err := os.ReadDir(instancedir.Trash(home))
			if err != nil || len(moved) != 1 {
				t.Fatalf("moved aside: %v, %v", moved, err)
			}
			dir = filepath.Join(instancedir.Trash(home), moved[0].Name())
		}
		for name, want := range files {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
				t.Errorf("%s in a foreign directory: %q, %v", name, text, err)
			}
		}
	}
}
