package controlplane

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/sirupsen/logrus"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	kubectl "k8s.io/kubectl/pkg/cmd"
)

// roleVariable makes the test binary act as another program: kubectl, or a control plane that can be killed.
const (
	roleVariable = "RDD_TEST_ROLE"
	roleKubectl  = "kubectl"
	roleServer   = "server"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	logrus.SetOutput(io.Discard)
	switch os.Getenv(roleVariable) {
	case roleKubectl:
		klog.ClearLogger()
		if err := kubectl.NewDefaultKubectlCommand().Execute(); err != nil {
			os.Exit(1)
		}
	case roleServer:
		if err := serveChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

const storeFile = "store.db"

func testConfig(t testing.TB) Config {
	dir := t.TempDir()
	return Config{
		Store:      filepath.Join(dir, "data", storeFile),
		TLSDir:     filepath.Join(dir, "tls"),
		Kubeconfig: filepath.Join(dir, "kubeconfig"),
		Version:    "0.1.0-test",
		Log:        slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// start runs a control plane for the time of a test.
func start(t testing.TB, cfg Config) *Server {
	t.Helper()
	began := time.Now()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %s", time.Since(began))
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	began := time.Now()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("cannot stop: %v", err)
	}
	t.Logf("stopped after %s", time.Since(began))
}

func client(t testing.TB, s *Server) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(s.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func widgets(t testing.TB, s *Server) dynamic.NamespaceableResourceInterface {
	t.Helper()
	c, err := dynamic.NewForConfig(s.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(widgetResource)
}

// eventually polls the world outside this package for something that must become true.
func eventually(t testing.TB, what string, ok func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		done, err := ok()
		if done && err == nil {
			return
		}
		last = err
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not in time (last error: %v)", what, last)
		case <-tick.C:
		}
	}
}

var widgetResource = schema.GroupVersionResource{Group: "example.rdd.dev", Version: "v1", Resource: "widgets"}

// widgetCRD has a bit of everything: defaults, rules, columns, a status, fields to select by.
func widgetCRD() *apiextensionsv1.CustomResourceDefinition {
	return crd("widgets", "Widget")
}

func crd(plural, kind string) *apiextensionsv1.CustomResourceDefinition {
	object := func(props map[string]apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: props}
	}
	minimum := 1.0
	spec := object(map[string]apiextensionsv1.JSONSchemaProps{
		"size":  {Type: "integer", Minimum: &minimum, Description: "Size of the widget, in millimetres."},
		"color": {Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"grey"`)}},
		"shape": {Type: "string", XValidations: apiextensionsv1.ValidationRules{{
			Rule: "self == oldSelf", Message: "the shape of a widget cannot change",
		}}},
	})
	status := object(map[string]apiextensionsv1.JSONSchemaProps{
		"phase": {Type: "string"},
		"conditions": {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{
			Type: "object", Required: []string{"type", "status"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{
				"type": {Type: "string"}, "status": {Type: "string"},
			},
		}}},
	})
	root := object(map[string]apiextensionsv1.JSONSchemaProps{"spec": spec, "status": status})
	root.Description = "A " + kind + " for tests."
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + widgetResource.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: widgetResource.Group,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Plural: plural, Singular: strings.ToLower(kind), Kind: kind, Categories: []string{"all"},
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: widgetResource.Version, Served: true, Storage: true,
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &root},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{
					{Name: "Size", Type: "integer", JSONPath: ".spec.size"},
				},
				SelectableFields: []apiextensionsv1.SelectableField{{JSONPath: ".spec.color"}},
			}},
		},
	}
}

func widget(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": widgetResource.GroupVersion().String(),
		"kind":       "Widget",
		"metadata":   map[string]any{"name": name},
		"spec":       spec,
	}}
}

// childConfig is what the server child reads from its standard input.
type childConfig struct {
	Dir      string
	EventTTL time.Duration
	CRDs     []*apiextensionsv1.CustomResourceDefinition
}

func (c childConfig) config(log *slog.Logger) Config {
	return Config{
		Store: filepath.Join(c.Dir, "data", storeFile), TLSDir: filepath.Join(c.Dir, "tls"), Kubeconfig: filepath.Join(c.Dir, "kubeconfig"),
		EventTTL: c.EventTTL, CRDs: c.CRDs, Log: log,
	}
}

// serveChild runs a control plane until its standard input ends. It says "ready" when it is.
func serveChild() error {
	decoder := json.NewDecoder(os.Stdin)
	var c childConfig
	if err := decoder.Decode(&c); err != nil {
		return err
	}
	s, err := Start(context.Background(), c.config(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if stopErr := s.Stop(ctx); stopErr != nil {
		return stopErr
	}
	return err
}

// child is a control plane in a process of its own.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

func startChild(t testing.TB, c childConfig) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+roleServer)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ch := &child{cmd: cmd, stdin: stdin}
	t.Cleanup(func() { ch.kill() })
	if err := json.NewEncoder(stdin).Encode(c); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the child is not ready: %q, %v", line, err)
	}
	return ch
}

// kill is SIGKILL: nothing gets flushed.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *child) stop(t testing.TB) {
	t.Helper()
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the child did not stop well: %v", err)
	}
}

// lines collects the lines of a stream as they come.
type lines struct{ ch chan string }

func newLines(r io.Reader) lines {
	l := lines{make(chan string, 1000)}
	go func() {
		defer close(l.ch)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			l.ch <- scanner.Text()
		}
	}()
	return l
}

func (l lines) waitFor(t *testing.T, want string) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case line, ok := <-l.ch:
			if !ok {
				t.Fatalf("the stream ended before %q", want)
			}
			if line == want {
				return
			}
		case <-timeout:
			t.Fatalf("no %q", want)
		}
	}
}
