package limavm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/vmfake"
)

// patience bounds each wait. It only decides how long a broken controller takes to fail.
const patience = 60 * time.Second

const maxNameLength = 40

// goodTemplate has one parameter, so that merging can be seen.
const goodTemplate = "images: [one]\nparam: {size: small}\n"

// daemon is what a test runs against: a control plane, a fake machine, and the controller in between.
type daemon struct {
	t       *testing.T
	client  client.WithWatch
	config  *rest.Config
	machine *vmfake.Machine
	clock   *clocktesting.FakePassiveClock // nil: the real one
	driver  *vmfake.Driver
	metrics *limavm.Metrics
	between func(*daemon) vm.Driver // what the controller drives the machine through
	stop    func()                  // ends controller and driver; the machine goes on

	namespace string // that get, await and the like look into
}

type option func(*options)

type options struct {
	noAdmission bool
	clock       *clocktesting.FakePassiveClock
	between     func(*daemon) vm.Driver
}

// withoutAdmission has objects stored that admission would refuse.
func withoutAdmission(o *options) { o.noAdmission = true }

// frozen keeps every pause going until the test moves the clock.
func frozen(o *options) { o.clock = clocktesting.NewFakePassiveClock(time.Now()) }

// through puts something between controller and driver.
func through(between func(*daemon) vm.Driver) option { return func(o *options) { o.between = between } }

// newDaemon starts driver and controller against a control plane that is empty, and ends them with the test.
func newDaemon(t *testing.T, opts ...option) *daemon {
	t.Helper()
	o := options{between: func(d *daemon) vm.Driver { return d.driver }}
	for _, opt := range opts {
		opt(&o)
	}
	plane := &guarded
	if o.noAdmission {
		plane = &unguarded
	}
	plane.start.Do(plane.open)
	if plane.err != nil {
		t.Fatal(plane.err)
	}
	d := &daemon{
		t: t, machine: vmfake.NewMachine(), clock: o.clock, between: o.between, stop: func() {}, namespace: "default",
		config: plane.server.Loopback(), client: plane.client,
	}
	t.Cleanup(func() {
		d.stop()
		d.clear()
	})
	d.start(false)
	return d
}

// clear removes all that a test may have stored, by a context that outlives it.
func (d *daemon) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, list := range []client.ObjectList{&v1alpha1.LimaVMList{}, &corev1.ConfigMapList{}} {
		d.must(d.client.List(ctx, list))
		d.must(meta.EachListItem(list, func(item runtime.Object) error {
			obj := item.(client.Object)
			if obj.GetName() == "kube-root-ca.crt" {
				return nil
			}
			err := d.client.Delete(ctx, obj)
			if err == nil && len(obj.GetFinalizers()) > 0 {
				err = d.client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
			}
			return client.IgnoreNotFound(err)
		}))
	}
	d.must(d.client.DeleteAllOf(ctx, &corev1.Event{}, client.InNamespace("default")))
	elsewhere := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}
	if err := d.client.Delete(ctx, elsewhere); err == nil || !apierrors.IsNotFound(err) {
		d.awaitGoneIn(ctx, &corev1.NamespaceList{}, client.MatchingFields{"metadata.name": "elsewhere"})
	}
}

// start starts driver and controller, as a daemon does that finds the machine as it is.
func (d *daemon) start(unverified bool) {
	d.t.Helper()
	log := slog.New(slog.NewTextHandler(d.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	changes := limavm.NewChanges()
	d.driver = vmfake.New(vmfake.Config{Machine: d.machine, Notify: changes.Notify, Unverified: unverified})
	mgr, err := limavm.NewManager(d.config, log)
	if err != nil {
		d.t.Fatal(err)
	}
	d.metrics = limavm.NewMetrics()
	cfg := limavm.Config{Driver: d.between(d), Templates: templates(), Changes: changes, Metrics: d.metrics, Log: log}
	if d.clock != nil {
		cfg.Clock = clock.PassiveClock(d.clock)
	}
	if err := limavm.SetupWithManager(mgr, cfg); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Errorf("the manager ended with %v", err)
		}
		_ = d.driver.Close()
	})
}

// templates is a stand-in for Lima's templates: "wrong" is what Lima does not like.
func templates() limavm.Templates {
	return limavm.Templates{
		Validate: func(content []byte) error {
			if strings.Contains(string(content), "wrong") {
				return errors.New("line 1: field `wrong` is not known to Lima")
			}
			return nil
		},
		MergeParams: func(content []byte, params map[string]string) ([]byte, error) {
			var document map[string]any
			if err := yaml.Unmarshal(content, &document); err != nil {
				return nil, err
			}
			known, _ := document["param"].(map[string]any)
			for name, value := range params {
				if _, ok := known[name]; !ok {
					return nil, fmt.Errorf("the template has no parameter %q", name)
				}
				known[name] = value
			}
			return yaml.Marshal(document)
		},
	}
}

// template stores a ConfigMap with a template.
func (d *daemon) template(name, content string) {
	d.t.Helper()
	d.must(d.client.Create(d.t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.namespace, Name: name},
		Data:       map[string]string{v1alpha1.TemplateKey: content},
	}))
}

// newVM is an object that admission lets in once the template is there.
func newVM(name string, changes ...func(*v1alpha1.LimaVM)) *v1alpha1.LimaVM {
	obj := &v1alpha1.LimaVM{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       v1alpha1.LimaVMSpec{TemplateRef: v1alpha1.TemplateReference{Name: "source", Namespace: "default"}},
	}
	for _, change := range changes {
		change(obj)
	}
	return obj
}

func running(obj *v1alpha1.LimaVM) { obj.Spec.Running = true }

// create stores a LimaVM, and its template if that is missing.
func (d *daemon) create(name string, changes ...func(*v1alpha1.LimaVM)) {
	d.t.Helper()
	key := client.ObjectKey{Namespace: "default", Name: "source"}
	if err := d.client.Get(d.t.Context(), key, &corev1.ConfigMap{}); err != nil {
		d.template("source", goodTemplate)
	}
	d.must(d.client.Create(d.t.Context(), newVM(name, changes...)))
}

func (d *daemon) get(name string) *v1alpha1.LimaVM {
	d.t.Helper()
	obj := newVM(name)
	obj.Namespace = d.namespace
	d.must(d.client.Get(d.t.Context(), client.ObjectKeyFromObject(obj), obj))
	return obj
}

// change edits a LimaVM as a user does.
func (d *daemon) change(name string, change func(*v1alpha1.LimaVM)) {
	d.t.Helper()
	obj := d.get(name)
	before := obj.DeepCopy()
	change(obj)
	d.must(d.client.Patch(d.t.Context(), obj, client.MergeFrom(before)))
}

// annotate asks for something once.
func (d *daemon) annotate(name, annotation string) {
	d.t.Helper()
	d.change(name, func(obj *v1alpha1.LimaVM) { metav1.SetMetaDataAnnotation(&obj.ObjectMeta, annotation, "now") })
}

// owned reads the ConfigMap that holds the VM's template.
func (d *daemon) owned(name string) *corev1.ConfigMap {
	d.t.Helper()
	owned := &corev1.ConfigMap{}
	d.must(d.client.Get(d.t.Context(), client.ObjectKey{Namespace: d.namespace, Name: name + "-template"}, owned))
	return owned
}

// edit changes the ConfigMap that holds the VM's template.
func (d *daemon) edit(name string, change func(*corev1.ConfigMap)) *corev1.ConfigMap {
	d.t.Helper()
	owned := d.owned(name)
	before := owned.DeepCopy()
	change(owned)
	d.must(d.client.Patch(d.t.Context(), owned, client.MergeFrom(before)))
	return owned
}

func (d *daemon) delete(name string) {
	d.t.Helper()
	obj := newVM(name)
	obj.Namespace = d.namespace
	d.must(d.client.Delete(d.t.Context(), obj))
}

func (d *daemon) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// await waits until an object is as it should be. It sees every version of it.
func (d *daemon) await(name, what string, ok func(*v1alpha1.LimaVM) bool) *v1alpha1.LimaVM {
	d.t.Helper()
	var last *v1alpha1.LimaVM
	found := d.watch(d.t.Context(), &v1alpha1.LimaVMList{}, func(event watch.Event) bool {
		if event.Type == watch.Deleted {
			return false
		}
		last = event.Object.(*v1alpha1.LimaVM)
		return ok(last)
	}, client.InNamespace(d.namespace), client.MatchingFields{"metadata.name": name})
	if !found {
		d.t.Fatalf("%s never came to: %s; last:\n%s", name, what, show(last))
	}
	return last
}

// awaitGone waits until there is no such object.
func (d *daemon) awaitGone(list client.ObjectList, name string) {
	d.t.Helper()
	d.awaitGoneIn(d.t.Context(), list, client.InNamespace(d.namespace), client.MatchingFields{"metadata.name": name})
}

func (d *daemon) awaitGoneIn(ctx context.Context, list client.ObjectList, which ...client.ListOption) {
	d.t.Helper()
	d.must(d.client.List(ctx, list, which...))
	if meta.LenList(list) == 0 {
		return
	}
	since := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
	if !d.watch(ctx, list, func(event watch.Event) bool { return event.Type == watch.Deleted }, append(which, since)...) {
		d.must(d.client.List(ctx, list, which...))
		d.t.Fatalf("still there: %+v", list)
	}
}

// watch calls ok for what is there and for each change, until it is content or patience ends.
func (d *daemon) watch(ctx context.Context, list client.ObjectList, ok func(watch.Event) bool, which ...client.ListOption) bool {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	watcher, err := d.client.Watch(ctx, list, which...)
	d.must(err)
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if event.Type == watch.Error {
			d.t.Fatalf("the watch failed: %v", event.Object)
		}
		if ok(event) {
			return true
		}
	}
	return false
}

// awaitCondition waits for one condition.
func (d *daemon) awaitCondition(name, kind string, status metav1.ConditionStatus, reason string) *v1alpha1.LimaVM {
	d.t.Helper()
	return d.await(name, fmt.Sprintf("%s %s %s", kind, status, reason), func(obj *v1alpha1.LimaVM) bool {
		c := meta.FindStatusCondition(obj.Status.Conditions, kind)
		return c != nil && c.Status == status && c.Reason == reason && c.ObservedGeneration == obj.Generation
	})
}

func (d *daemon) awaitRunning(name string) *v1alpha1.LimaVM {
	d.t.Helper()
	return d.awaitCondition(name, v1alpha1.ConditionRunning, metav1.ConditionTrue, v1alpha1.ReasonStarted)
}

func (d *daemon) awaitStopped(name string) *v1alpha1.LimaVM {
	d.t.Helper()
	return d.await(name, "Stopped", func(obj *v1alpha1.LimaVM) bool { return obj.Status.Phase == v1alpha1.PhaseStopped })
}

// awaitEvent waits for an Event about a LimaVM.
func (d *daemon) awaitEvent(name, reason string) *corev1.Event {
	d.t.Helper()
	var found *corev1.Event
	fields := client.MatchingFields{"involvedObject.name": name, "reason": reason}
	if !d.watch(d.t.Context(), &corev1.EventList{}, func(event watch.Event) bool {
		if event.Type == watch.Deleted { // of a former test
			return false
		}
		found = event.Object.(*corev1.Event)
		return true
	}, client.InNamespace(d.namespace), fields) {
		d.t.Fatalf("no event %s about %s", reason, name)
	}
	return found
}

// hang has operations of one kind on one VM hang until they are called off or release is called.
func (d *daemon) hang(operation vm.Operation, name string) (release func()) {
	gate := make(chan struct{})
	d.machine.Behave(func(ctx context.Context, call vmfake.Call) error {
		if call.Operation != operation || call.Name != name {
			return nil
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sync.OnceFunc(func() { close(gate) })
}

// failing has operations of one kind fail.
func (d *daemon) failing(operation vm.Operation, cause string) {
	d.machine.Behave(func(_ context.Context, call vmfake.Call) error {
		if call.Operation == operation {
			return errors.New(cause)
		}
		return nil
	})
}

func show(obj *v1alpha1.LimaVM) string {
	if obj == nil {
		return "nothing"
	}
	obj.ManagedFields = nil
	text, err := yaml.Marshal(obj)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// thaw lets the pauses end.
func (d *daemon) thaw() { d.clock.SetTime(time.Now().Add(24 * time.Hour)) }
