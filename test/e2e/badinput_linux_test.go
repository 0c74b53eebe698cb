package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const image = "images:\n- location: /nowhere/image.raw\n  arch: x86_64\n"

// TestBadInput: each gets one clear line on standard error, the right exit code, and nothing is lost or left behind.
func TestBadInput(t *testing.T) {
	r := newRig(t)
	r.must("svc", "start")
	r.must("limavm", "create", "other", r.file("image.yaml", image), "--wait=false")
	notYAML := r.file("notyaml.yaml", "images:\n- location: [unclosed\n")
	noImage := r.file("noimage.yaml", "cpus: 2\n")
	badArch := r.file("badarch.yaml", "cpus: 1\narch: z80\n"+image)
	empty := r.file("empty.yaml", "")
	good := r.file("good.yaml", image)
	before := r.must("ctl", "get", "configmap,limavm", "-o", "name")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"unknown VM, start":            {[]string{"limavm", "start", "nobody"}, 5, `there is no VM "nobody"`},
		"unknown VM, stop":             {[]string{"limavm", "stop", "nobody"}, 5, `there is no VM "nobody"`},
		"unknown VM, delete":           {[]string{"limavm", "delete", "nobody"}, 5, `there is no VM "nobody"`},
		"unknown VM, shell":            {[]string{"limavm", "shell", "nobody"}, 5, `there is no VM "nobody"`},
		"unknown VM, logs":             {[]string{"limavm", "logs", "nobody"}, 5, `there is no VM "nobody"`},
		"unknown VM, down":             {[]string{"down", "nobody"}, 5, `there is no VM "nobody"`},
		"unknown VM, ctl":              {[]string{"ctl", "get", "limavm", "nobody"}, 1, `"nobody" not found`},
		"unknown built-in template":    {[]string{"limavm", "create", "x", "template:debain"}, 5, "there are default, alpine, debian"},
		"unknown ConfigMap":            {[]string{"limavm", "create", "x", "nomap"}, 5, `there is no ConfigMap "nomap"`},
		"unknown file":                 {[]string{"limavm", "create", "x", "./nofile.yaml"}, 5, "no such file"},
		"unknown file, absolute":       {[]string{"limavm", "create", "x", "/nowhere/vm.yaml"}, 5, "no such file"},
		"unknown namespace":            {[]string{"limavm", "create", "x", good, "-n", "nospace"}, 5, `namespaces "nospace" not found`},
		"unknown path":                 {[]string{"svc", "paths", "RDD_NOTHING"}, 5, "there are RDD_DIR"},
		"not YAML":                     {[]string{"limavm", "create", "x", notYAML}, 3, "line 2: "},
		"no image":                     {[]string{"limavm", "create", "x", noImage}, 3, "field `images` must be set"},
		"not valid for Lima":           {[]string{"limavm", "create", "x", badArch}, 3, "line 2: field `arch` must be one of"},
		"empty template":               {[]string{"limavm", "create", "x", empty}, 3, "images"},
		"bad expression":               {[]string{"limavm", "create", "x", good, "--set", ".cpus = = 1"}, 1, "cannot apply"},
		"unknown parameter":            {[]string{"limavm", "create", "x", good, "--param", "Nothing=1"}, 3, `"Nothing"`},
		"name too long for a socket":   {[]string{"limavm", "create", strings.Repeat("n", 90), good}, 3, "at most"},
		"name with a slash":            {[]string{"limavm", "create", "a/b", good}, 3, "a/b"},
		"name in capitals":             {[]string{"limavm", "create", "Dev", good}, 3, "Dev"},
		"name taken":                   {[]string{"limavm", "create", "other", good}, 3, `VM "other" already exists`},
		"name taken elsewhere":         {[]string{"limavm", "create", "other", good, "-n", "kube-system"}, 3, "unique across all namespaces"},
		"no name":                      {[]string{"limavm", "start"}, 2, "the name of a VM is missing"},
		"two templates":                {[]string{"limavm", "create", "x", good, good}, 2, "a name and a template"},
		"unknown command":              {[]string{"fly"}, 2, `unknown command "fly"`},
		"unknown subcommand":           {[]string{"limavm", "fly"}, 2, `unknown command "fly"`},
		"unknown flag":                 {[]string{"limavm", "list", "--fly"}, 2, "unknown flag"},
		"unknown format":               {[]string{"limavm", "list", "-o", "xml"}, 2, `unknown output format "xml"`},
		"bad duration":                 {[]string{"limavm", "start", "other", "--timeout", "soon"}, 2, "soon"},
		"bad instance":                 {[]string{"--instance=../x", "svc", "status"}, 2, `instance name "../x" is not valid`},
		"bad log level":                {[]string{"--log-level=loud", "svc", "status"}, 2, `unknown log level "loud"`},
		"bad port":                     {[]string{"svc", "create", "--secure-port", "70000"}, 2, "70000"},
		"cpus for a ConfigMap":         {[]string{"limavm", "create", "x", "nomap", "--cpus", "2"}, 2, "--cpus"},
		"force and grace":              {[]string{"limavm", "stop", "other", "--force", "--grace-period", "3"}, 2, "force"},
		"all and a name":               {[]string{"down", "--all", "other"}, 2, "not both"},
		"a second daemon":              {[]string{"svc", "serve"}, 6, "already served by the daemon with PID"},
		"a flag of the launcher's own": {[]string{"svc", "serve", "--launched"}, 2, "--launched"},
	} {
		t.Run(name, func(t *testing.T) {
			r := r.sub(t)
			got := r.want(c.code, c.says, c.args...)
			if lines := strings.Count(strings.TrimSpace(got.stderr), "\n"); lines != 0 {
				t.Errorf("it says more than one line: %s", got.stderr)
			}
		})
	}
	if after := r.must("ctl", "get", "configmap,limavm", "-o", "name"); after != before {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
	if output := r.must("svc", "status", "-o", "json"); !strings.Contains(output, `"ready": true`) {
		t.Errorf("the daemon did not survive:\n%s", output)
	}
}

func TestPortThatIsTaken(t *testing.T) {
	r := newRig(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	got := r.want(1, "address already in use", "svc", "start", "--secure-port", port)
	if !strings.Contains(got.stderr, "--secure-port") || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("not one line that says what to do: %s", got.stderr)
	}
	r.must("svc", "start")
	if output := r.must("svc", "status"); strings.Contains(output, ":"+port+"\n") {
		t.Errorf("a port for one session was saved:\n%s", output)
	}
}

func TestDataDirectoryThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	for name, dir := range map[string]string{
		"a file is in the way": r.file("file", ""),
		"no such thing":        "/proc/nowhere",
	} {
		t.Run(name, func(t *testing.T) {
			r := r.sub(t)
			got := r.runWith([]string{"XDG_DATA_HOME=" + dir}, "", "svc", "start")
			if got.code != 1 || !strings.Contains(got.stderr, dir) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("exit code %d, %s", got.code, got.stderr)
			}
		})
	}
}

// TestCorruptStore: it is told where it is and how to keep it, and it is left as it is.
func TestCorruptStore(t *testing.T) {
	r := newRig(t)
	r.must("svc", "start")
	r.must("svc", "stop")
	store := filepath.Join(strings.TrimSpace(r.must("svc", "paths", "RDD_DIR")), "store.db")
	if _, err := os.Stat(store); err != nil {
		t.Fatal(err)
	}
	const garbage = "this is not what was written here"
	for _, more := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(store + more); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(store, []byte(strings.Repeat(garbage, 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := r.want(1, store, "svc", "start")
		if strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("not one line: %s", got.stderr)
		}
		t.Log(got.stderr)
	}
	if content, err := os.ReadFile(store); err != nil || string(content) != strings.Repeat(garbage, 1000) {
		t.Errorf("the store was changed: %d bytes, %v", len(content), err)
	}
}

// TestNoQEMU: the start fails and says what is missing; the VM can be started once it is there.
func TestNoQEMU(t *testing.T) {
	r := newRig(t)
	bin := filepath.Join(r.home, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	// All that a shell can find, but QEMU.
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if !strings.HasPrefix(entry.Name(), "qemu") {
				_ = os.Symlink(filepath.Join(dir, entry.Name()), filepath.Join(bin, entry.Name()))
			}
		}
	}
	path := "PATH=" + bin
	if got := r.runWith([]string{path}, "", "svc", "start"); got.code != 0 {
		t.Fatal(got.stderr)
	}
	got := r.run("up", "dev", "--template", r.plain())
	if got.code != 1 || !strings.Contains(got.stderr, "qemu-system-x86_64") {
		t.Errorf("exit code %d, want 1 and the name of what is missing in: %s", got.code, got.stderr)
	}
	t.Log(got.stderr)
}
