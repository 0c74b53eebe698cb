package controlplane

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

func createConfigMap(t testing.TB, c kubernetes.Interface, namespace, name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	t.Helper()
	cm, err := c.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cm
}

func gone(t testing.TB, c kubernetes.Interface, namespace, name string) func() (bool, error) {
	return func() (bool, error) {
		_, err := c.CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	}
}

func TestGarbageCollection(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	s := start(t, cfg)
	c, w := client(t, s), widgets(t, s).Namespace("default")
	owned := func(name string) metav1.OwnerReference {
		t.Helper()
		owner, err := w.Create(t.Context(), widget(name, map[string]any{"size": int64(1)}), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		block := true
		return metav1.OwnerReference{
			APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: name, UID: owner.GetUID(), BlockOwnerDeletion: &block,
		}
	}
	remove := func(name string, policy metav1.DeletionPropagation) {
		t.Helper()
		if err := w.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
	}

	createConfigMap(t, c, "default", "of-background", owned("background"))
	remove("background", metav1.DeletePropagationBackground)
	eventually(t, "background: the dependent goes", gone(t, c, "default", "of-background"))

	dependent := createConfigMap(t, c, "default", "of-foreground", owned("foreground"))
	// The collector has to know of the dependent before, or it takes the owner for one without; so wait for it to act once.
	createConfigMap(t, c, "default", "of-nobody", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "never", UID: "0"})
	eventually(t, "the dependent of an owner that never was goes", gone(t, c, "default", "of-nobody"))
	dependent.Finalizers = []string{"example.rdd.dev/hold"}
	if _, err := c.CoreV1().ConfigMaps("default").Update(t.Context(), dependent, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	remove("foreground", metav1.DeletePropagationForeground)
	eventually(t, "foreground: the dependent is told to go", func() (bool, error) {
		got, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "of-foreground", metav1.GetOptions{})
		return err == nil && got.DeletionTimestamp != nil, err
	})
	if owner, err := w.Get(t.Context(), "foreground", metav1.GetOptions{}); err != nil || !slices.Contains(owner.GetFinalizers(), metav1.FinalizerDeleteDependents) {
		t.Errorf("foreground: the owner goes before its dependent: %v", err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Patch(t.Context(), "of-foreground", types.JSONPatchType,
		[]byte(`[{"op":"remove","path":"/metadata/finalizers"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "foreground: the owner goes", func() (bool, error) {
		_, err := w.Get(t.Context(), "foreground", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})

	createConfigMap(t, c, "default", "of-orphan", owned("orphan"))
	remove("orphan", metav1.DeletePropagationOrphan)
	eventually(t, "orphan: the dependent loses its owner", func() (bool, error) {
		got, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "of-orphan", metav1.GetOptions{})
		return err == nil && len(got.OwnerReferences) == 0, err
	})

	t.Run("of a kind that came later", func(t *testing.T) {
		late := crd("lates", "Late")
		if err := ensureCRDs(t.Context(), s.api.clients, s.api.discovery, []*apiextensionsv1.CustomResourceDefinition{late}); err != nil {
			t.Fatal(err)
		}
		lates := s.api.clients.dynamic.Resource(widgetResource.GroupVersion().WithResource("lates")).Namespace("default")
		owner := widget("owner", map[string]any{})
		owner.SetKind("Late")
		owner, err := lates.Create(t.Context(), owner, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		createConfigMap(t, c, "default", "of-late", metav1.OwnerReference{APIVersion: owner.GetAPIVersion(), Kind: "Late", Name: "owner", UID: owner.GetUID()})
		if err := lates.Delete(t.Context(), "owner", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the dependent goes", gone(t, c, "default", "of-late"))
	})
}

func TestNamespaces(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	s := start(t, cfg)
	c := client(t, s)
	for _, name := range []string{"default", "kube-system"} {
		if _, err := c.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		if err := c.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("deletion of %s: want Forbidden, got %v", name, err)
		}
	}
	if _, err := c.CoreV1().ConfigMaps("nowhere").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("in a namespace that does not exist: want NotFound, got %v", err)
	}

	if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	furnished := func() (bool, error) {
		if _, err := c.CoreV1().ServiceAccounts("team").Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			return false, err
		}
		ca, err := c.CoreV1().ConfigMaps("team").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil && ca.Data["ca.crt"] != "" && ca.Data["ca.crt"] != "forged", err
	}
	eventually(t, "the namespace is furnished", furnished)
	if err := c.CoreV1().ServiceAccounts("team").Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("team").Patch(t.Context(), "kube-root-ca.crt", types.MergePatchType, []byte(`{"data":{"ca.crt":"forged"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is furnished again", furnished)
	if err := c.CoreV1().ConfigMaps("team").Delete(t.Context(), "kube-root-ca.crt", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "and again", furnished)

	created, err := widgets(t, s).Namespace("team").Create(t.Context(), widget("held", map[string]any{}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.SetFinalizers([]string{"example.rdd.dev/hold"})
	if _, err := widgets(t, s).Namespace("team").Update(t.Context(), created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	createConfigMap(t, c, "team", "content")
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "team", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("team").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{}); !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("in a namespace that goes: %v", err)
	}
	eventually(t, "its content goes", gone(t, c, "team", "content"))
	ns, err := c.CoreV1().Namespaces().Get(t.Context(), "team", metav1.GetOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("while something holds it: %v, %v", ns.Status, err)
	}
	if _, err := widgets(t, s).Namespace("team").Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace goes", func() (bool, error) {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), "team", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

func TestEventsExpire(t *testing.T) {
	cfg := testConfig(t)
	cfg.EventTTL = 2 * time.Second
	s := start(t, cfg)
	c := client(t, s)
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "happened", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Widget", Namespace: "default", Name: "one"},
		Reason:         "Test", Message: "it happened", Type: corev1.EventTypeNormal,
	}
	if _, err := c.CoreV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.EventsV1().Events("default").Get(t.Context(), "happened", metav1.GetOptions{}); err != nil || got.Note != "it happened" {
		t.Errorf("in the other group: %v, %v", got, err)
	}
	newer := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "newer", Namespace: "default"}, EventTime: metav1.NowMicro(), Type: corev1.EventTypeNormal,
		Regarding: event.InvolvedObject, Reason: "Test", Note: "x", Action: "Test", ReportingController: "rdd/test", ReportingInstance: "1",
	}
	if _, err := c.EventsV1().Events("default").Create(t.Context(), newer, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expired := func() (bool, error) {
		list, err := c.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	}
	eventually(t, "the events expire", expired)

	// Also when the daemon was restarted meanwhile.
	if _, err := c.CoreV1().Events("default").Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	s = start(t, cfg)
	c = client(t, s)
	eventually(t, "the events expire after a restart", expired)
}

func TestWatchOrder(t *testing.T) {
	cfg := testConfig(t)
	cfg.CRDs = []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	s := start(t, cfg)
	w := widgets(t, s).Namespace("default")
	list, err := w.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watching, err := w.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	const writers, each = 4, 25
	for writer := range writers {
		go func() {
			for i := range each {
				_, err := w.Create(t.Context(), widget(fmt.Sprintf("w%d-%d", writer, i), map[string]any{"size": int64(i + 1)}), metav1.CreateOptions{})
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	var last uint64
	next := map[string]int{}
	for range writers * each {
		event := nextEvent(t, watching)
		if event.Type != watch.Added {
			t.Fatalf("event %v", event)
		}
		obj := event.Object.(metav1.Object)
		var version uint64
		var writer, i int
		if _, err := fmt.Sscan(obj.GetResourceVersion(), &version); err != nil {
			t.Fatal(err)
		}
		if version <= last {
			t.Errorf("version %d after %d", version, last)
		}
		last = version
		if _, err := fmt.Sscanf(obj.GetName(), "w%d-%d", &writer, &i); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprint(writer)
		if next[key] != i {
			t.Errorf("writer %d: %d after %d", writer, i, next[key]-1)
		}
		next[key]++
	}

	t.Run("from a version in the past", func(t *testing.T) {
		again, err := w.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Stop()
		for range writers * each {
			nextEvent(t, again)
		}
	})
	t.Run("with what is there first", func(t *testing.T) {
		yes := true
		streaming, err := w.Watch(t.Context(), metav1.ListOptions{
			SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer streaming.Stop()
		for range writers * each {
			if event := nextEvent(t, streaming); event.Type != watch.Added {
				t.Fatalf("event %v", event)
			}
		}
		if event := nextEvent(t, streaming); event.Type != watch.Bookmark {
			t.Errorf("want the bookmark, got %v", event)
		}
	})
}

func nextEvent(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case event, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		return event
	case <-time.After(60 * time.Second):
		t.Fatal("no event")
	}
	return watch.Event{}
}

// TestFirstChangeAfterStartIsSeenAtOnce guards against kine's habit of preparing itself with the first notification.
func TestFirstChangeAfterStartIsSeenAtOnce(t *testing.T) {
	cfg := testConfig(t)
	stop(t, start(t, cfg))
	for range 3 {
		s := start(t, cfg)
		c := client(t, s)
		watching, err := c.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=first"})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		createConfigMap(t, c, "default", "first")
		nextEvent(t, watching)
		if took := time.Since(began); took > pollInterval/2 {
			t.Errorf("seen after %s: that was the poll", took)
		}
		watching.Stop()
		if err := c.CoreV1().ConfigMaps("default").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		stop(t, s)
	}
}
