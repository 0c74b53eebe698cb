package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyKubectl drives a VM with nothing but kubectl and a kubeconfig, as any client of a cluster would.
func TestOnlyKubectl(t *testing.T) {
	r := newRig(t)
	kubectl := filepath.Join(r.home, "kubectl")
	if err := os.Symlink(binary, kubectl); err != nil {
		t.Fatal(err)
	}
	env := []string{"KUBECONFIG=" + r.file("config", r.must("svc", "config"))} // which starts the control plane
	kube := func(stdin string, args ...string) string {
		t.Helper()
		got := r.exec(kubectl, env, stdin, args...)
		if got.code != 0 {
			t.Fatalf("kubectl %s: exit code %d\n%s%s", strings.Join(args, " "), got.code, got.stdout, got.stderr)
		}
		return got.stdout
	}
	template, err := os.ReadFile(r.plain())
	if err != nil {
		t.Fatal(err)
	}
	kube("", "create", "namespace", "work")
	manifest := fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: small, namespace: work}
data:
  template: |
%s
---
apiVersion: lima.rancherdesktop.io/v1alpha1
kind: LimaVM
metadata: {name: web, namespace: work}
spec:
  templateRef: {name: small}
  running: true
`, indent(string(template), "    "))
	kube(manifest, "apply", "-f", "-")
	kube("", "-n", "work", "wait", "limavm/web", "--for=condition=Running", "--timeout=200s")
	if got := kube("", "-n", "work", "get", "lvm"); !strings.Contains(got, "Running") {
		t.Errorf("kubectl get: %s", got)
	}
	if got := kube(strings.Replace(manifest, "running: true", "running: true\n  restartPolicy: Never", 1), "apply", "-f", "-"); !strings.Contains(got, "limavm.lima.rancherdesktop.io/web configured") {
		t.Errorf("kubectl apply: %s", got)
	}
	kube("", "-n", "work", "patch", "limavm", "web", "--type=merge", "--patch", `{"spec":{"running":false}}`)
	kube("", "-n", "work", "wait", "limavm/web", "--for=condition=Running=false", "--timeout=100s")
	kube("", "-n", "work", "wait", "limavm/web", "--for=jsonpath={.status.phase}=Stopped", "--timeout=100s")

	owned := r.exec(kubectl, env, "", "-n", "work", "delete", "configmap", "web-template")
	if owned.code == 0 || !strings.Contains(owned.stderr, "delete the LimaVM resource instead") {
		t.Errorf("the template of a VM could be deleted: exit code %d, %s", owned.code, owned.stderr)
	}
	kube("", "-n", "work", "delete", "limavm", "web", "--timeout=100s")
	if got := kube("", "-n", "work", "get", "limavm,configmap", "-o", "name"); strings.Contains(got, "web") {
		t.Errorf("after the deletion there is: %s", got)
	}
	kube("", "delete", "namespace", "work", "--timeout=60s")
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by)
}
