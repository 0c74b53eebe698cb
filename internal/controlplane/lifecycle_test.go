package controlplane

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// goroutines returns the stacks of all goroutines, by their numbers, which are used once.
func goroutines(t *testing.T) map[string]string {
	t.Helper()
	var dump bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&dump, 2); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, stack := range strings.Split(dump.String(), "\n\n") {
		number, rest, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		found[number] = rest
	}
	return found
}

// Goroutines that upstream never ends: they are there once, however often a control plane is started.
var immortal = regexp.MustCompile(strings.Join([]string{
	`feature\.\(\*defaultFeatureSupportChecker\)`,
	`grpcsync\.`,
	`klog/v2\.\(\*flushDaemon\)`,
	`healthz\.\(\*log\)`,
	`testing\.`,
	`os/signal`,
}, "|"))

func TestStopLeavesNothingRunning(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	cycle := func() {
		s, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		w, err := widgets(t, s).Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := widgets(t, s).Namespace("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		stop(t, s)
		w.Stop()
	}
	cycle()
	before := goroutines(t)
	for range 3 {
		cycle()
	}
	expectNoMore(t, before)
}

// expectNoMore waits for the end of all goroutines that are not among those before, but for those of upstream whose stacks say one
// of words.
func expectNoMore(t *testing.T, before map[string]string, words ...string) {
	t.Helper()
	var left []string
	for range 200 {
		left = nil
		for number, stack := range goroutines(t) {
			contains := func(word string) bool { return strings.Contains(stack, word) }
			if _, ok := before[number]; !ok && !immortal.MatchString(stack) && !slices.ContainsFunc(words, contains) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Errorf("%d are left:\n%s", len(left), strings.Join(left, "\n\n"))
}

func TestStopEndsWatches(t *testing.T) {
	cfg := testConfig(t)
	s := start(t, cfg)
	config, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 5 {
		w, err := c.CoreV1().ConfigMaps("").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range w.ResultChan() { // until it ends
			}
		})
	}
	began := time.Now()
	stop(t, s)
	wg.Wait()
	t.Logf("stopped with 5 watches in %s", time.Since(began))
	select {
	case <-s.Done():
		if s.Err() != nil {
			t.Error(s.Err())
		}
	default:
		t.Error("Done is not closed")
	}
}

// TestPartThatFails takes the listener away from under a running server.
func TestPartThatFails(t *testing.T) {
	s := start(t, testConfig(t))
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	s.store.failed <- context.DeadlineExceeded
	select {
	case <-s.Done():
		if s.Err() == nil {
			t.Error("no error")
		}
	case <-time.After(60 * time.Second):
		t.Fatal("Done is not closed")
	}
}

func TestKubernetesVersionIsThatOfTheModule(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "k8s.io/kubernetes v" + kubernetesVersion + "\n"; !strings.Contains(string(content), want) {
		t.Errorf("go.mod does not require %s", want)
	}
}
