package limavm

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// Metrics counts and times what happens to the LimaVMs of one daemon. It is a prometheus.Gatherer; docs/metrics.md lists
// what it gathers. All counts begin with it.
type Metrics struct {
	registry *prometheus.Registry
	begun    time.Time
	reader   atomic.Pointer[client.Reader] // the manager's cache, once there is one

	starts, forcedStops, foreign, backoffs prometheus.Counter
	failures                               *prometheus.CounterVec
	start, stop, adopt, recovery           prometheus.Histogram
	reconcile, delivery                    prometheus.Histogram

	mu    sync.Mutex
	lives map[string]*life
}

// life is what is remembered of one VM, to time what becomes of it.
type life struct {
	agent     process.Identity // of the last one that was seen to run
	failed    time.Time        // when the last failure that was counted happened
	died      time.Time        // when it died by itself; zero when it runs again, or need not
	startedAt time.Time        // when a start was requested; zero when none is under way
	stoppedAt time.Time        // the same of a stop
}

// phases are all that a VM can be in, so that each has a sample, also one in which no VM is.
func phases() []v1alpha1.Phase {
	return []v1alpha1.Phase{
		v1alpha1.PhasePending, v1alpha1.PhaseCreating, v1alpha1.PhaseStopped, v1alpha1.PhaseStarting, v1alpha1.PhaseRunning,
		v1alpha1.PhaseStopping, v1alpha1.PhaseFailed, v1alpha1.PhaseDeleting,
	}
}

// NewMetrics makes a Metrics that has counted nothing.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), begun: time.Now(), lives: map[string]*life{}}
	const prefix = "rdd_limavm_"
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	long := []float64{.05, .1, .25, .5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600}
	short := []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 5}

	m.starts = counter("starts_total", "Times that a VM came to run.")
	m.forcedStops = counter("forced_stops_total", "VMs that did not shut down within their grace period and were ended by force.")
	m.foreign = counter("foreign_processes_total", "PID files of VMs that named a process which is not rdd's, and which was left alone.")
	m.backoffs = counter("backoffs_total", "Failures after which the next attempt was put off.")
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "failures_total", Help: "What failed, by operation; Run is a VM that died by itself.",
	}, []string{"operation"})
	for _, op := range []vm.Operation{vm.OpCreate, vm.OpApply, vm.OpStart, vm.OpStop, vm.OpDelete, vm.OpRun} {
		m.failures.WithLabelValues(string(op))
	}
	m.start = histogram("start_duration_seconds", "From the request to start a VM until its guest answers.", long...)
	m.stop = histogram("stop_duration_seconds", "From the request to stop a VM until nothing of it runs.", long...)
	m.adopt = histogram("adopt_duration_seconds", "From the daemon's start until it has taken a running VM over.", long...)
	m.recovery = histogram("recover_duration_seconds", "From the death of a VM until its guest answers again.", long...)
	m.reconcile = histogram("reconcile_duration_seconds", "What one look at a VM takes, with all that it requests and reports.", short...)
	m.delivery = histogram("event_to_reconcile_seconds", "From an event of a VM until it is looked at.", short...)
	m.registry.MustRegister(m.failures, byPhase{m})
	return m
}

// Gather implements prometheus.Gatherer.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.registry.Gather() }

// byPhase counts the VMs when somebody asks, and at no other time.
type byPhase struct{ *Metrics }

func (byPhase) desc() *prometheus.Desc {
	return prometheus.NewDesc("rdd_limavm_vms", "VMs, by phase.", []string{"phase"}, nil)
}

// Describe implements prometheus.Collector.
func (b byPhase) Describe(descs chan<- *prometheus.Desc) { descs <- b.desc() }

// Collect implements prometheus.Collector. Without a cache that answers, nothing is known, and nothing told.
func (b byPhase) Collect(metrics chan<- prometheus.Metric) {
	reader := b.reader.Load()
	if reader == nil {
		return
	}
	var list v1alpha1.LimaVMList
	if err := (*reader).List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		return
	}
	count := map[v1alpha1.Phase]int{}
	for i := range list.Items {
		phase := list.Items[i].Status.Phase
		if phase == "" {
			phase = v1alpha1.PhasePending
		}
		count[phase]++
	}
	for _, phase := range phases() {
		metrics <- prometheus.MustNewConstMetric(b.desc(), prometheus.GaugeValue, float64(count[phase]), string(phase))
	}
}

// seen takes note of what the driver tells of a VM.
func (m *Metrics) seen(name string, observed vm.Observed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lives[name]
	if l == nil {
		l = &life{}
		m.lives[name] = l
	}
	if f := observed.Failure; f != nil && !f.At.Equal(l.failed) {
		m.failures.WithLabelValues(string(f.During)).Inc()
		l.failed, l.startedAt = f.At, time.Time{}
		if f.During == vm.OpRun {
			l.died = f.At
		}
	}
	switch observed.State {
	case vm.Running:
		if observed.Host != nil && observed.Host.Agent != l.agent {
			m.runs(l, *observed.Host)
		}
	case vm.Stopped, vm.Absent:
		if !l.stoppedAt.IsZero() {
			m.stop.Observe(time.Since(l.stoppedAt).Seconds())
			l.stoppedAt, l.died = time.Time{}, time.Time{}
		}
	}
}

// runs takes note of a VM that has come to run; the lock is held.
func (m *Metrics) runs(l *life, host vm.Host) {
	l.agent = host.Agent
	if host.Adopted {
		m.adopt.Observe(time.Since(m.begun).Seconds())
	} else {
		m.starts.Inc()
		m.start.Observe(time.Since(known(l.startedAt, host.StartedAt)).Seconds())
	}
	if !l.died.IsZero() {
		m.recovery.Observe(time.Since(l.died).Seconds())
	}
	l.died, l.startedAt = time.Time{}, time.Time{}
}

// known is a, or b where a is not known.
func known(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

// requested takes note of a step that the driver has taken on.
func (m *Metrics) requested(name string, step Step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lives[name]
	if l == nil { // forgotten meanwhile, with an object of that name in another namespace
		return
	}
	switch step {
	case StepStart, StepRestart:
		l.startedAt = time.Now()
	case StepStop, StepStopNow:
		if l.stoppedAt.IsZero() {
			l.stoppedAt = time.Now()
		}
	}
}

// told counts what is told in an Event.
func (m *Metrics) told(reason string) {
	switch reason {
	case v1alpha1.EventForcedStop:
		m.forcedStops.Inc()
	case v1alpha1.EventForeignProcess:
		m.foreign.Inc()
	case v1alpha1.EventBackOff:
		m.backoffs.Inc()
	}
}

// forget lets go of a VM that is no more.
func (m *Metrics) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.lives, name)
}
