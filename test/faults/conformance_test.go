package faults

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/lima"
	"github.com/seed-192657fa/rdd/internal/vm/vmtest"
	"github.com/seed-192657fa/rdd/process"
)

// TestConformance holds the stand-ins to what the real VMs are held to.
func TestConformance(t *testing.T) {
	t.Parallel()
	vmtest.Run(t, func(t *testing.T, notify func(string)) vmtest.Harness {
		h := newHost(t)
		h.must(h.driver.Close())
		open := func(t *testing.T, notify func(string)) vm.Driver {
			driver, err := lima.New(h.config(notify))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { h.must(driver.Close()) })
			return driver
		}
		return vmtest.Harness{
			Driver: open(t, notify),
			Good:   []byte(template),
			Other:  lines("cpus: 1", "memory: 1GiB"),
			Bad:    lines("cpus: 1", "memory: plenty"),
			Reopen: open,
			Crash: func(t *testing.T, name string) {
				family, err := process.ReadFamily(h.dir(name).Ledger())
				if err != nil {
					t.Fatal(err)
				}
				h.kill(family.Head)
			},
			PlantForeign: func(t *testing.T, name string) func(bool) { return h.plant(name) },
			Patience:     patience,
			Grace:        20 * time.Second,
		}
	})
}

// plant makes what looks like an instance that limactl made.
func (h *host) plant(name string) (unchanged func(aside bool)) {
	h.Helper()
	dir := filepath.Join(h.home, name)
	h.must(os.Mkdir(dir, 0o700))
	files := map[string]string{"lima.yaml": "images: []\n", "ha.pid": "4194303\n", "disk": "precious", "rdd.owner": "somebody else"}
	for file, text := range files {
		h.must(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	return func(aside bool) {
		h.Helper()
		if aside {
			moved, err := os.ReadDir(instancedir.Trash(h.home))
			h.must(err)
			if len(moved) != 1 {
				h.Fatalf("moved aside: %v", moved)
			}
			dir = filepath.Join(instancedir.Trash(h.home), moved[0].Name())
		}
		for file, want := range files {
			if text, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(text) != want {
				h.Errorf("%s in a foreign directory: %q, %v", file, text, err)
			}
		}
	}
}
