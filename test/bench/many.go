package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/process"
)

// How many VMs there are, and how many of them run. They are stand-ins: two cores carry no more than a few real ones.
const (
	manyObjects = 500
	manyRunning = 100
)

// manyTemplate is what a stand-in is made from.
const manyTemplate = "cpus: 2\nmemory: 512MiB\nvmType: qemu\nimages:\n- location: https://example.com/image.img\n  arch: x86_64\n"

// manyTime is far more than anything below takes.
const manyTime = 10 * time.Minute

// grace is how long one VM is given to shut down unless its object says otherwise: all together get no more.
const grace = 30.0

// many measures what grows with the number of VMs.
type many struct {
	*bench
	rdd   rdd
	api   client.WithWatch
	plain *http.Client // that waits for nothing, whatever the server asks for
	ready string       // the URL that it asks
}

// manyVMs runs the daemon of test/daemon, which is rdd but for its VMs.
func (b *bench) manyVMs(ctx context.Context) (err error) {
	m := &many{bench: b, rdd: rdd{binary: b.many, home: b.rdd.home}.instance("many")}
	defer func() { err = errors.Join(err, m.rdd.remove()) }()
	ctx, cancel := context.WithTimeout(ctx, manyTime)
	defer cancel()
	if err := m.start(ctx); err != nil {
		return err
	}
	b.progress("%d VMs, %d of them running", manyObjects, manyRunning)
	if err := m.populate(ctx); err != nil {
		return err
	}
	for _, measure := range []func(context.Context) error{m.rest, m.latency, m.restart, m.adoption, m.end} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start starts the daemon, and connects to it.
func (m *many) start(ctx context.Context) error {
	if err := m.rdd.run(ctx, "svc", "start"); err != nil {
		return err
	}
	text, err := output(ctx, m.rdd.env(), m.rdd.binary, "svc", "config")
	if err != nil {
		return err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		return err
	}
	config.QPS = -1 // it is the daemon that is measured
	log.SetLogger(logr.Discard())
	if m.plain, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	m.ready = config.Host + "/readyz"
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return err
	}
	m.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return err
}

func vmOf(i int) string { return fmt.Sprintf("vm%03d", i) }

// populate makes the VMs, and waits until all are made and those run that should.
func (m *many) populate(ctx context.Context) error {
	in := metav1.ObjectMeta{Namespace: corev1.NamespaceDefault, Name: "source"}
	source := &corev1.ConfigMap{ObjectMeta: in, Data: map[string]string{v1alpha1.TemplateKey: manyTemplate}}
	if err := m.api.Create(ctx, source); err != nil {
		return err
	}
	for i := range manyObjects {
		in.Name = vmOf(i)
		spec := v1alpha1.LimaVMSpec{TemplateRef: v1alpha1.TemplateReference{Name: source.Name}, Running: i < manyRunning}
		if err := m.api.Create(ctx, &v1alpha1.LimaVM{ObjectMeta: in, Spec: spec}); err != nil {
			return err
		}
	}
	return m.all(ctx, manyObjects, func(obj *v1alpha1.LimaVM) bool {
		return is(obj, v1alpha1.ConditionCreated) && is(obj, v1alpha1.ConditionRunning) == obj.Spec.Running
	})
}

func is(obj *v1alpha1.LimaVM, condition string) bool {
	return meta.IsStatusConditionTrue(obj.Status.Conditions, condition)
}

// all waits until n VMs are as they should be.
func (m *many) all(ctx context.Context, n int, ok func(*v1alpha1.LimaVM) bool) error {
	content := map[string]bool{}
	return m.follow(ctx, func(obj *v1alpha1.LimaVM) bool {
		delete(content, obj.Name)
		if ok(obj) {
			content[obj.Name] = true
		}
		return len(content) == n
	})
}

// follow has each VM looked at, and again when it changes, until look is content.
func (m *many) follow(ctx context.Context, look func(*v1alpha1.LimaVM) bool) error {
	watch, err := m.api.Watch(ctx, &v1alpha1.LimaVMList{})
	if err != nil {
		return err
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		obj, ok := event.Object.(*v1alpha1.LimaVM)
		if !ok {
			return fmt.Errorf("cannot watch the VMs: %v", event.Object)
		}
		if look(obj) {
			return nil
		}
	}
	return errors.Join(ctx.Err(), errors.New("the watch has ended"))
}

// rest measures a daemon that has nothing to do.
func (m *many) rest(ctx context.Context) error {
	pid, err := m.rdd.daemon(ctx)
	if err != nil {
		return err
	}
	return m.idleProcess(ctx, pid, fmt.Sprintf("%d VMs, %d running: idle daemon", manyObjects, manyRunning), 0, 0)
}

// latency kills one agent after the other, each when the one before runs again. It measures how long it takes until a watcher reads
// of the death in the status, which is told when what the agent has left is cleared, and how long from the event by which the next
// agent says that its guest runs.
func (m *many) latency(ctx context.Context) error {
	m.progress("%d deaths", manyRunning)
	death, event := figure{Name: "death of an agent to status", Unit: "s"}, figure{Name: "event of an agent to status, p50", Unit: "s", Must: 0.02}
	latest := map[string]*v1alpha1.LimaVM{}
	var killed time.Time // zero while the victim is awaited to run again
	var failed error
	victim := -1
	err := m.follow(ctx, func(obj *v1alpha1.LimaVM) bool {
		now := time.Now()
		latest[obj.Name] = obj
		if len(latest) < manyObjects { // what there is comes first
			return false
		}
		if victim >= 0 && obj.Name != vmOf(victim) {
			return false
		}
		switch running := is(obj, v1alpha1.ConditionRunning); {
		case !killed.IsZero() && !running:
			death.sample(now.Sub(killed).Seconds())
			killed = time.Time{}
			return false
		case victim >= 0 && (!killed.IsZero() || !running):
			return false
		case victim >= 0:
			var told time.Time
			if told, failed = toldRunning(obj.Status.Instance.Directory); failed != nil {
				return true
			}
			event.sample(now.Sub(told).Seconds())
		}
		if victim++; victim == manyRunning {
			return true
		}
		killed = time.Now()
		failed = kill(int(latest[vmOf(victim)].Status.Host.PID))
		return failed != nil
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	sorted := slices.Sorted(slices.Values(event.Samples))
	worst := figure{Name: "event of an agent to status, p99", Unit: "s", Must: 0.1, Samples: []float64{sorted[len(sorted)*99/100]}}
	m.report.add(death, event, worst)
	return nil
}

// toldRunning tells when the agent of the instance in dir wrote the last event which says that the guest runs.
func toldRunning(dir string) (told time.Time, err error) {
	text, err := os.ReadFile(instancedir.At(dir).Journal())
	if err != nil {
		return time.Time{}, err
	}
	for line := range bytes.Lines(text) {
		var event struct {
			Time   time.Time
			Status struct{ Running bool }
		}
		if json.Unmarshal(line, &event) == nil && event.Status.Running {
			told = event.Time
		}
	}
	if told.IsZero() {
		err = fmt.Errorf("no agent in %s says when its guest came to run", dir)
	}
	return told, err
}

// kill ends a process of the VMs or the daemon, as any death does.
func kill(pid int) error {
	identity, err := process.Find(pid)
	if err != nil {
		return err
	}
	handle, err := process.Open(identity)
	if err != nil {
		return err
	}
	return errors.Join(handle.Kill(), handle.Close())
}

// restart measures how long nobody is answered while the control plane is restarted, by one who asks all the time.
func (m *many) restart(ctx context.Context) error {
	away := figure{Name: fmt.Sprintf("svc restart, API away, %d VMs", manyRunning), Unit: "s", Must: 1}
	for i := range m.repeat {
		m.progress("restart %d of %d", i+1, m.repeat)
		restarted, longest := make(chan struct{}), make(chan time.Duration, 1)
		go func() { longest <- m.longestSilence(ctx, restarted) }()
		err := m.rdd.run(ctx, "svc", "restart")
		close(restarted)
		silence := <-longest
		if err != nil {
			return err
		}
		away.sample(silence.Seconds())
	}
	m.report.add(away)
	return m.all(ctx, manyRunning, func(obj *v1alpha1.LimaVM) bool { return is(obj, v1alpha1.ConditionRunning) })
}

// longestSilence asks until the server has been ready after done, and returns the longest time from one time to the next.
func (m *many) longestSilence(ctx context.Context, done <-chan struct{}) (longest time.Duration) {
	for last := time.Now(); ctx.Err() == nil; {
		if !m.isReady(ctx) {
			continue
		}
		longest = max(longest, time.Since(last))
		last = time.Now()
		select {
		case <-done:
			return longest
		default:
		}
	}
	return longest
}

func (m *many) isReady(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.ready, nil)
	if err != nil {
		return false
	}
	response, err := m.plain.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK
}

// adoption kills the daemon, and measures how long it takes from the start of another one until it has taken over all VMs.
func (m *many) adoption(ctx context.Context) error {
	adopt := figure{Name: fmt.Sprintf("svc start, to %d VMs adopted", manyRunning), Unit: "s", Must: 2}
	for i := range m.repeat {
		m.progress("adoption %d of %d", i+1, m.repeat)
		pid, err := m.rdd.daemon(ctx)
		if err != nil {
			return err
		}
		if err := kill(pid); err != nil {
			return err
		}
		began := metav1.NewTime(time.Now().Truncate(time.Second))
		err = timed(&adopt, func() error {
			if err := m.start(ctx); err != nil {
				return err
			}
			return m.all(ctx, manyRunning, func(obj *v1alpha1.LimaVM) bool {
				running := meta.FindStatusCondition(obj.Status.Conditions, v1alpha1.ConditionRunning)
				return is(obj, v1alpha1.ConditionRunning) && obj.Status.Host.Adopted && !running.LastTransitionTime.Before(&began)
			})
		})
		if err != nil {
			return err
		}
	}
	m.report.add(adopt)
	return nil
}

// end stops the daemon, and with it all VMs.
func (m *many) end(ctx context.Context) error {
	stop := figure{Name: fmt.Sprintf("svc stop, %d VMs", manyRunning), Unit: "s", Must: grace}
	if err := timed(&stop, func() error { return m.rdd.run(ctx, "svc", "stop") }); err != nil {
		return err
	}
	m.report.add(stop)
	return nil
}
