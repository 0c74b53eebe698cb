package template

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/lima-vm/lima/v2/pkg/limayaml"
)

func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "rdd-template-")
	if err != nil {
		panic(err)
	}
	os.Setenv("LIMA_HOME", home) // the user's own Lima configuration must not take part
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

const minimal = `images:
- location: /tmp/image.raw
  arch: x86_64
param:
  Greeting: hello
provision:
- mode: system
  script: echo "$PARAM_Greeting"
`

func TestBuiltinsAreCompleteAndValid(t *testing.T) {
	names := Builtin()
	if want := []string{"default", "alpine", "debian", "fedora", "opensuse", "ubuntu"}; !slices.Equal(names, want) {
		t.Fatalf("Builtin() = %v, want %v", names, want)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			content, err := Read(t.Context(), "template:"+name, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := Validate(content); err != nil {
				t.Errorf("Validate: %v", err)
			}
			var parsed limatype.LimaYAML
			if err := limayaml.Unmarshal(content, &parsed, name); err != nil {
				t.Fatal(err)
			}
			for _, arch := range []string{limatype.X8664, limatype.AARCH64} {
				i := slices.IndexFunc(parsed.Images, func(image limatype.Image) bool { return image.Arch == arch })
				if i < 0 {
					t.Errorf("no image for %s", arch)
					continue
				}
				image := parsed.Images[i]
				if !strings.HasPrefix(image.Location, "https://") {
					t.Errorf("the image for %s does not come over https: %s", arch, image.Location)
				}
				// openSUSE publishes no image that stays the same.
				if image.Digest == "" && name != "opensuse" {
					t.Errorf("the first image for %s has no digest", arch)
				}
			}
		})
	}
}

func TestReadFromEverywhere(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/vm.yaml" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(minimal))
	}))
	defer server.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "vm.yaml")
	derived := filepath.Join(dir, "derived.yaml")
	write(t, file, minimal)
	write(t, derived, "base: ./vm.yaml\ncpus: 3\n")
	for _, source := range []string{file, "file://" + file, server.URL + "/vm.yaml", "-", derived} {
		content, err := Read(t.Context(), source, strings.NewReader(minimal), []string{".cpus = 7", `.memory = "3GiB"`})
		if err != nil {
			t.Errorf("Read(%s): %v", source, err)
			continue
		}
		for _, want := range []string{"/tmp/image.raw", "cpus: 7", "memory: 3GiB"} {
			if !strings.Contains(string(content), want) {
				t.Errorf("Read(%s) lacks %q:\n%s", source, want, content)
			}
		}
		if strings.Contains(string(content), "base:") {
			t.Errorf("Read(%s) left a base:\n%s", source, content)
		}
		if err := Validate(content); err != nil {
			t.Errorf("Validate(%s): %v", source, err)
		}
	}
}

func TestReadOfWhatIsNotThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, source := range []string{"/nowhere/vm.yaml", "file:///nowhere/vm.yaml", server.URL + "/vm.yaml"} {
		_, err := Read(t.Context(), source, nil, nil)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read(%s): %v, want one that wraps fs.ErrNotExist", source, err)
		}
	}
	var unknown *UnknownBuiltinError
	if _, err := Read(t.Context(), "template:debain", nil, nil); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "debian") {
		t.Errorf("Read of an unknown built-in template: %v, want an error that lists those there are", err)
	}
	if _, err := Read(t.Context(), "template:../template", nil, nil); !errors.As(err, &unknown) {
		t.Errorf("Read of a path as a built-in template: %v", err)
	}
	if _, err := Read(t.Context(), "-", strings.NewReader(strings.Repeat("#", MaxSize+1)), nil); err == nil {
		t.Error("a template over the limit was read")
	}
	if _, err := Read(t.Context(), "-", strings.NewReader(minimal), []string{".cpus = = 2"}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a broken expression: %v, want an error on one line", err)
	}
}

func TestValidateTellsTheLineInLimasWords(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"not YAML":         {"images:\n- location: [unclosed\n", "line 2: "},
		"wrong kind":       {"images:\n- location: /a\n  arch: x86_64\ncpus: many\n", "line 4: "},
		"no image":         {"cpus: 2\n", "field `images` must be set"},
		"bad architecture": {"arch: z80\nimages:\n- location: /a\n  arch: x86_64\n", "line 1: field `arch` must be one of"},
		"bad digest":       {"cpus: 2\nimages:\n- location: /a\n  arch: x86_64\n  digest: sha256:zz\n", "line 5: field `images[0].digest` is invalid"},
		"unused parameter": {"images:\n- location: /a\n  arch: x86_64\nparam:\n  Unused: x\n", "\"Unused\""},
		"no CPU":           {"images:\n- location: /a\n  arch: x86_64\ncpus: -1\n", "line 4: field `cpus` must be at least 1, not -1"},
		"memory in bytes":  {"images:\n- location: /a\n  arch: x86_64\nmemory: 512\n", "line 4: field `memory` must be at least 16MiB, and \"512\" is 512 bytes"},
		"no memory":        {"images:\n- location: /a\n  arch: x86_64\nmemory: 0GiB\n", "field `memory` must be at least"},
		"memory and disk":  {"memory: 1KiB\ndisk: 1\nimages:\n- location: /a\n  arch: x86_64\n", "line 2: field `disk` must be at least"},
		"too large a disk": {"disk: 99999PiB\nimages:\n- location: /a\n  arch: x86_64\n", "line 1: field `disk` is too large: \"99999PiB\""},
		"base left":        {"base: template:debian\nimages: []\n", "field `base` must be empty"},
		"unknown driver":   {"vmType: abacus\nimages:\n- location: /a\n  arch: x86_64\n", "abacus"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate([]byte(c.content))
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "`Unused`", `"Unused"`), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Validate = %v, want one line with %q", err, c.want)
			}
			var syntax *SyntaxError
			if got, want := errors.As(err, &syntax), name == "not YAML" || name == "wrong kind"; got != want {
				t.Errorf("a SyntaxError: %t, want %t", got, want)
			}
		})
	}
}

func TestValidateAcceptsSizes(t *testing.T) {
	for _, sizes := range []string{
		"cpus: 1\nmemory: 16MiB\ndisk: 16MiB\n", "cpus: 0\nmemory: \"\"\ndisk: \"\"\n", "memory: 4294967296\n", "disk: 4000PiB\n", "",
	} {
		if err := Validate([]byte(minimal + sizes)); err != nil {
			t.Errorf("%q: %v", sizes, err)
		}
	}
}

// TestValidateKnowsTheInstancesDirectory: Lima's own templates for Docker and k3s put sockets and files into it.
func TestValidateKnowsTheInstancesDirectory(t *testing.T) {
	err := Validate([]byte(minimal + `
portForwards: [{guestSocket: /run/docker.sock, hostSocket: "{{.Dir}}/sock/docker.sock"}]
copyToHost: [{guest: /etc/motd, host: "{{.Dir}}/copied/motd"}]
`))
	if err != nil {
		t.Error(err)
	}
}

// TestBasesAreTheBuiltInTemplates, where Unpack has put them.
func TestBasesAreTheBuiltInTemplates(t *testing.T) {
	t.Setenv("LIMA_TEMPLATES_PATH", t.TempDir())
	if err := Unpack(os.Getenv("LIMA_TEMPLATES_PATH")); err != nil {
		t.Fatal(err)
	}
	got, err := Read(t.Context(), "-", strings.NewReader("base: template:debian\ncpus: 3\n"), nil)
	if err != nil || !strings.Contains(string(got), "cloud.debian.org") || !strings.Contains(string(got), "cpus: 3") {
		t.Errorf("Read gave %v and\n%s", err, got)
	}
	if err := Validate(got); err != nil {
		t.Error(err)
	}
}

func TestValidateIsSafeForConcurrentUse(t *testing.T) {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := Validate([]byte(minimal)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestMergeParams(t *testing.T) {
	for _, value := range []string{"world", "true", "1.0", `"quoted" 'and' \n`, "a: b # c", "", "{{.Home}}"} {
		merged, err := MergeParams([]byte(minimal), map[string]string{"Greeting": value})
		if err != nil {
			t.Fatalf("MergeParams(%q): %v", value, err)
		}
		var parsed limatype.LimaYAML
		if err := limayaml.Unmarshal(merged, &parsed, "merged"); err != nil {
			t.Fatalf("MergeParams(%q): %v", value, err)
		}
		if parsed.Param["Greeting"] != value {
			t.Errorf("MergeParams(%q) gave %q", value, parsed.Param["Greeting"])
		}
	}
	if _, err := MergeParams([]byte(minimal), map[string]string{"Farewell": "x"}); err == nil || !strings.Contains(err.Error(), "Greeting") {
		t.Errorf("an unknown parameter: %v, want an error that lists those there are", err)
	}
	if _, err := MergeParams([]byte("cpus: 1\n"), map[string]string{"Farewell": "x"}); err == nil || !strings.Contains(err.Error(), "it has none") {
		t.Errorf("a template without parameters: %v", err)
	}
	if same, err := MergeParams([]byte(minimal), nil); err != nil || string(same) != minimal {
		t.Errorf("without parameters the template changed: %v", err)
	}
}

func FuzzMergeParams(f *testing.F) {
	f.Add(minimal, "Greeting", "x")
	f.Add("param: [", "a", "b")
	f.Add("param: {a: &x {b: *x}}", "a", "b")
	f.Fuzz(func(t *testing.T, content, name, value string) {
		_, _ = MergeParams([]byte(content), map[string]string{name: value})
	})
}

func FuzzValidate(f *testing.F) {
	f.Add(minimal)
	f.Add("images: []")
	f.Add("networks: [{}]")
	f.Fuzz(func(t *testing.T, content string) {
		if err := Validate([]byte(content)); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
	})
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
