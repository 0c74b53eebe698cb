package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// TestNames: one that is not valid is refused in words, before anything is looked for.
func TestNames(t *testing.T) {
	p := newPlane(t)
	file := p.file("dev.yaml", goodTemplate)
	for _, name := range []string{"a/b", "UPPER", "a_b", "-a", "a..b"} {
		p.want(3, "^Error: the name \"[^\"]+\" is not valid: lower-case letters and digits, with single dots or dashes in between\n$",
			"vm", "create", "--", name, file)
	}
}

func TestATemplateThatDoesNotCome(t *testing.T) {
	p := newPlane(t)
	ended := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	defer web.Close()
	defer close(ended)
	p.want(4, `Error: template http://\S+/dev.yaml was not read within 50ms: context deadline exceeded\n`,
		"vm", "create", "dev", web.URL+"/dev.yaml", "--timeout=50ms")
}

func TestStopOfWhatCannotBeCreated(t *testing.T) {
	p := newPlane(t)
	p.failing(vm.OpCreate, "there is no room")
	p.wantIn(goodTemplate, 1, "there is no room", "vm", "create", "dev", "-", "--start")
	p.want(0, `^VM "dev" does not run: it could not be created, which goes on being tried; "rdd limavm status dev" tells why`, "vm", "stop", "dev")
}

// TestDryRunRefusesWhatCreateDoes, with one line each.
func TestDryRunRefusesWhatCreateDoes(t *testing.T) {
	p := newPlane(t)
	file := p.file("dev.yaml", goodTemplate)
	large := p.file("large.yaml", goodTemplate+"message: "+strings.Repeat("x", 2<<20)+"\n")
	p.want(0, `created`, "ctl", "create", "configmap", "taken-template", "--from-literal=x=y")
	for _, c := range []struct {
		says string
		args []string
	}{
		{`has no parameter "A"; it has FLAVOR`, []string{"dev", file, "--param", "A=B"}},
		{`at most`, []string{strings.Repeat("n", 41), file}},
		{`default/taken-template already exists`, []string{"taken", file}},
		{`large.yaml is not valid: it has \d+ bytes, and the control plane stores at most 1048576`, []string{"dev", large}},
	} {
		p.want(3, c.says, append([]string{"vm", "create", "--dry-run"}, c.args...)...)
		p.want(3, c.says, append([]string{"vm", "create"}, c.args...)...)
	}
	p.want(0, `^VM "dev" could be created`, "vm", "create", "dev", file, "--param", "FLAVOR=small", "--dry-run")
}

// TestSizesAreChecked wherever they come from, and nothing is changed by what is refused.
func TestSizesAreChecked(t *testing.T) {
	p := newPlane(t)
	file := p.file("dev.yaml", goodTemplate)
	for _, args := range [][]string{{"--set", ".cpus=-2"}, {"--memory=1MiB"}, {"--disk=99999PiB"}} {
		p.want(3, "field `(cpus|memory|disk)` ", append([]string{"vm", "create", "dev", file, "--dry-run"}, args...)...)
		p.want(3, "field `(cpus|memory|disk)` ", append([]string{"vm", "create", "dev", file}, args...)...)
	}
	p.want(0, `created`, "ctl", "create", "configmap", "source", "--from-literal=template="+goodTemplate+"cpus: -1")
	p.want(3, "field `cpus` must be at least 1", "vm", "create", "dev", "source")
	p.want(0, "is running", "vm", "create", "dev", file, "--start")
	p.wantIn(goodTemplate+"cpus: -1\n", 3, "nothing has changed: .*field `cpus` must be at least 1", "vm", "edit", "dev", "--file", "-")
	config, err := templateConfig(t.Context(), p.api, p.vm("dev"))
	p.must(err)
	config.Data[v1alpha1.TemplateKey] += "cpus: -1\n"
	if err := p.api.Update(t.Context(), config); !apierrors.IsInvalid(err) {
		t.Errorf("admission of cpus: -1: %v", err)
	}
	if vm := p.vm("dev"); vm.Status.Phase != v1alpha1.PhaseRunning || vm.Status.RestartCount != 1 {
		t.Errorf("it is %s, and was started %d times", vm.Status.Phase, vm.Status.RestartCount)
	}
}

// TestConfigMapInTheWay: that of a former VM makes room, one of the user's does not.
func TestConfigMapInTheWay(t *testing.T) {
	p := newPlane(t)
	file := p.file("dev.yaml", goodTemplate)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "dev"}}
	p.must(p.api.Create(t.Context(), config))
	p.want(3, `ConfigMap "dev" already exists`, "vm", "create", "dev", file)
	former := &v1alpha1.LimaVM{ObjectMeta: metav1.ObjectMeta{Name: "dev", UID: "former"}}
	config.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(former, v1alpha1.GroupVersion().WithKind("LimaVM"))}
	p.must(p.api.Update(t.Context(), config))
	p.want(0, `VM "dev" is created`, "vm", "create", "dev", file)
}

func TestWhatIsBeingDeleted(t *testing.T) {
	p := newPlane(t)
	file := p.file("dev.yaml", goodTemplate)
	p.want(0, "is running", "vm", "create", "dev", file, "--start")
	release := p.hang(vm.OpDelete)
	defer release()
	p.want(0, "will be deleted", "vm", "delete", "dev", "--wait=false")
	for _, args := range [][]string{
		{"up", "dev", "--wait=false"}, {"vm", "create", "dev", file}, {"vm", "start", "dev"}, {"vm", "restart", "dev"},
		{"vm", "reset", "dev", "--yes"}, {"vm", "edit", "dev", "--file", file}, {"vm", "params", "dev", "FLAVOR=small"},
	} {
		p.want(3, `VM "dev" is being deleted; "rdd limavm delete dev" waits`, args...)
	}
	stdout, stderr, ended := newOutput(), newOutput(), make(chan int, 1)
	go func() { ended <- p.runIn(t.Context(), "", stdout, stderr, "up", "dev", "--template", file) }()
	stderr.await(t, `^dev: Deleting`)
	release()
	if code := <-ended; code != 0 || !strings.Contains(stdout.String(), `VM "dev" is running`) {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if created := p.machine.Count(vm.OpCreate, "dev"); created != 2 {
		t.Errorf("created %d times, want 2", created)
	}
}
