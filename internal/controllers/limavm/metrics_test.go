package limavm_test

import (
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/utils/ptr"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// expectMetrics compares values of counters, and of histograms the number of their observations.
func (d *daemon) expectMetrics(want map[string]float64) {
	d.t.Helper()
	got := d.gather()
	for name, value := range want {
		if found, ok := got["rdd_limavm_"+name]; !ok || found != value {
			d.t.Errorf("%s is %v (there: %t), want %v", name, found, ok, value)
		}
	}
}

// awaitVMs waits until so many VMs are counted in a phase: by the manager's cache, which hears of a change when we do.
func (d *daemon) awaitVMs(phase v1alpha1.Phase, want float64) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); d.gather()["rdd_limavm_vms "+string(phase)] != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("never counted %v VMs %s: %v", want, phase, d.gather())
		}
	}
}

func (d *daemon) gather() map[string]float64 {
	d.t.Helper()
	families, err := d.metrics.Gather()
	d.must(err)
	got := map[string]float64{}
	for _, family := range families {
		for _, sample := range family.GetMetric() {
			name := family.GetName()
			for _, label := range sample.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = valueOf(sample)
		}
	}
	return got
}

func valueOf(sample *dto.Metric) float64 {
	switch {
	case sample.GetCounter() != nil:
		return sample.GetCounter().GetValue()
	case sample.GetGauge() != nil:
		return sample.GetGauge().GetValue()
	}
	return float64(sample.GetHistogram().GetSampleCount())
}

// TestMetrics takes a VM through what is counted, one after the other.
func TestMetrics(t *testing.T) {
	d := newDaemon(t)
	d.expectMetrics(map[string]float64{"starts_total": 0, "failures_total Run": 0})
	d.create("dev", running)
	d.create("other")
	first := d.awaitRunning("dev")
	d.awaitStopped("other")
	d.expectMetrics(map[string]float64{
		"starts_total": 1, "start_duration_seconds": 1, "recover_duration_seconds": 0, "adopt_duration_seconds": 0,
		"forced_stops_total": 0,
	})
	for phase, n := range map[v1alpha1.Phase]float64{v1alpha1.PhaseRunning: 1, v1alpha1.PhaseStopped: 1, v1alpha1.PhaseFailed: 0} {
		d.awaitVMs(phase, n)
	}

	d.machine.Crash("dev")
	second := d.await("dev", "another agent", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Identity != first.Status.Host.Identity
	})
	d.expectMetrics(map[string]float64{
		"starts_total": 2, "start_duration_seconds": 2, "recover_duration_seconds": 1, "failures_total Run": 1, "backoffs_total": 0,
	})

	d.stop()
	d.start(false)
	d.await("dev", "adopted", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Host != nil && obj.Status.Host.Adopted && obj.Status.Host.Identity == second.Status.Host.Identity
	})
	d.expectMetrics(map[string]float64{"starts_total": 0, "adopt_duration_seconds": 1, "stop_duration_seconds": 0})

	release := d.hang(vm.OpStop, "dev")
	defer release()
	d.change("dev", func(obj *v1alpha1.LimaVM) {
		obj.Spec.Running, obj.Spec.StopGracePeriodSeconds = false, ptr.To[int32](0)
	})
	d.awaitStopped("dev")
	d.awaitEvent("dev", v1alpha1.EventForcedStop)
	d.expectMetrics(map[string]float64{"stop_duration_seconds": 1, "forced_stops_total": 1})
	d.awaitVMs(v1alpha1.PhaseStopped, 2)

	d.failing(vm.OpStart, "no KVM")
	d.change("dev", running)
	d.awaitEvent("dev", v1alpha1.EventBackOff)
	d.expectMetrics(map[string]float64{"failures_total Start": 1, "backoffs_total": 1, "start_duration_seconds": 0})
}

// TestMetricsOfReconciles: an event of a VM is timed until it is looked at.
func TestMetricsOfReconciles(t *testing.T) {
	d := newDaemon(t)
	d.create("dev", running)
	before := d.awaitRunning("dev").Status.Host.Identity
	const delivered, reconciled = "rdd_limavm_event_to_reconcile_seconds", "rdd_limavm_reconcile_duration_seconds"
	was := d.gather()
	d.machine.Crash("dev")
	d.await("dev", "another agent", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Identity != before
	})
	is := d.gather()
	// The reconcile that starts the VM again has ended; that which reports that it runs may be about to.
	if was[delivered] == 0 || is[delivered] == was[delivered] || is[reconciled] == was[reconciled] {
		t.Errorf("%v, then %v events were looked at, in %v, then %v reconciles", was[delivered], is[delivered], was[reconciled], is[reconciled])
	}
}
