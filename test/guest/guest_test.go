package guest_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/seed-192657fa/rdd/test/guest"
)

func TestTemplatesNameFilesThatExist(t *testing.T) {
	for name, text := range map[string][]byte{"guest": guest.Template(t), "plain": guest.PlainTemplate(t)} {
		t.Run(name, func(t *testing.T) {
			var template struct {
				Plain  bool
				Images []struct {
					Location       string
					Kernel, Initrd struct{ Location string }
				}
			}
			if err := yaml.UnmarshalStrict(text, &map[string]any{}); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(text, &template); err != nil {
				t.Fatal(err)
			}
			if template.Plain != (name == "plain") {
				t.Errorf("plain is %t", template.Plain)
			}
			if len(template.Images) != 1 {
				t.Fatalf("%d images", len(template.Images))
			}
			image := template.Images[0]
			for _, file := range []string{image.Location, image.Kernel.Location, image.Initrd.Location} {
				if info, err := os.Stat(file); err != nil || !filepath.IsAbs(file) || info.Size() == 0 {
					t.Errorf("%s: %v", file, err)
				}
			}
		})
	}
}

// Test binaries of several packages build the guest at the same time.
func TestConcurrentBuildsAgree(t *testing.T) {
	built := make([]guest.Guest, 4)
	var group sync.WaitGroup
	for i := range built {
		group.Go(func() {
			var err error
			if built[i], err = guest.Build(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, g := range built {
		if g != built[0] {
			t.Errorf("%v and %v", g, built[0])
		}
	}
}

// The image is bootable by QEMU without firmware: the kernel is an ELF file with a PVH entry note.
func TestKernelIsUncompressed(t *testing.T) {
	g, err := guest.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(filepath.Join(g.Dir, "vmlinux"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(kernel), "\x7fELF") {
		t.Errorf("vmlinux begins with %q", kernel[:4])
	}
}
