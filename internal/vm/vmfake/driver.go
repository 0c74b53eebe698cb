package vmfake

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
)

// Config is what a driver is made from.
type Config struct {
	Machine *Machine
	// Notify is told of changes; nil for nobody.
	Notify func(name string)
	// Watched has each operation take until it has been observed this many times, so that a test sees every state that it
	// passes through without racing it. 0: operations take what Behaviour makes them take.
	Watched int
	// Unverified keeps everything Unknown until Verify.
	Unverified bool
}

// Driver is a vm.Driver.
type Driver struct {
	cfg Config

	mu           sync.Mutex
	vms          map[string]*machineVM
	verified     bool
	draining     bool
	observations map[string]int
	drained      chan struct{} // closed when draining begins
	closed       chan struct{}
}

var _ vm.Driver = (*Driver)(nil)

// machineVM is what one driver knows of one VM. All fields are guarded by Driver.mu.
type machineVM struct {
	name     string
	state    vm.State
	owner    string
	version  string
	applying string // the version that is being applied
	failure  *vm.Failure
	count    int // failures in a row
	agent    *agent
	adopted  bool
	grace    time.Duration
	notices  []vm.Notice
	watched  int                // observations of the present operation
	seen     chan struct{}      // closed when watched is enough
	cancel   context.CancelFunc // calls the present Create or Start off
	deadline *time.Timer        // of the present Stop
	forceAt  time.Time
	force    chan struct{} // closed when the grace of the present Stop is over
	forced   bool
}

const healthy = 10 * time.Minute

var validName = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

// New makes a driver.
func New(cfg Config) *Driver {
	if cfg.Notify == nil {
		cfg.Notify = func(string) {}
	}
	return &Driver{
		cfg:          cfg,
		vms:          map[string]*machineVM{},
		observations: map[string]int{},
		verified:     !cfg.Unverified,
		drained:      make(chan struct{}),
		closed:       make(chan struct{}),
	}
}

// Verify ends the state Unknown of everything, if Config.Unverified began it.
func (d *Driver) Verify() {
	d.mu.Lock()
	d.verified = true
	d.mu.Unlock()
	d.cfg.Machine.mu.Lock()
	var names []string
	for name := range d.cfg.Machine.instances {
		names = append(names, name)
	}
	d.cfg.Machine.mu.Unlock()
	for _, name := range names {
		d.cfg.Notify(name)
	}
}

// get is called with the driver locked.
func (d *Driver) get(name string) *machineVM {
	if v := d.vms[name]; v != nil {
		return v
	}
	v := &machineVM{name: name, state: vm.Absent}
	found := d.cfg.Machine.look(name)
	switch {
	case found == nil:
		return v // not kept: who plants a directory later shall find it seen
	case found.foreign:
		v.state = vm.Foreign
		return v
	}
	v.state, v.owner, v.version, v.grace = vm.Stopped, found.spec.Owner, found.spec.TemplateVersion, found.grace
	switch {
	case found.agent != nil:
		v.state, v.agent, v.adopted = vm.Running, found.agent, true
		go d.watch(v, v.agent)
	case found.died:
		v.fail(vm.OpRun, errors.New("the agent died while no daemon ran"), found.exitStatus, "")
	}
	d.vms[name] = v
	return v
}

// Observe implements vm.Driver.
func (d *Driver) Observe(name string) vm.Observed {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.verified {
		return vm.Observed{State: vm.Unknown}
	}
	d.observations[name]++
	v := d.get(name)
	result := vm.Observed{State: v.state, Owner: v.owner, TemplateVersion: v.version, Draining: d.draining, Notices: v.notices}
	v.notices = nil
	if v.failure != nil {
		failure := *v.failure
		result.Failure = &failure
	}
	if v.seen != nil {
		result.Progress = &vm.Progress{Stage: string(v.state), Percent: min(100, 100*v.watched/max(1, d.cfg.Watched))}
		d.observed(v)
	}
	if v.agent != nil {
		host := v.agent.Host
		host.Adopted = v.adopted
		result.Host, result.Degraded = &host, d.cfg.Machine.degradation(v.agent)
	}
	switch v.state {
	case vm.Stopped, vm.Starting, vm.Running, vm.Stopping:
		result.Grace = v.grace
		result.Instance = &vm.Instance{
			Directory: "/fake/" + name, VMType: "qemu", Arch: "x86_64", CPUs: 2, Memory: 2 << 30, Disk: 100 << 30,
		}
		if v.state == vm.Running {
			result.Instance.SSHPort = v.agent.Agent.PID
		}
	}
	return result
}

// Observations tells how often a VM has been observed.
func (d *Driver) Observations(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.observations[name]
}

// observed counts an observation of the operation under way.
func (d *Driver) observed(v *machineVM) {
	if v.watched++; v.watched == d.cfg.Watched {
		close(v.seen)
	} else if v.watched < d.cfg.Watched {
		go d.cfg.Notify(v.name)
	}
}

// Create implements vm.Driver.
func (d *Driver) Create(name string, spec vm.Spec) error {
	return d.request(name, func(v *machineVM) (changed bool, err error) {
		switch {
		case !validName.MatchString(name):
			return false, errors.New("the name is not valid")
		case d.draining:
			return false, errors.New("the daemon is shutting down")
		case v.state == vm.Creating && v.owner == spec.Owner:
			return false, nil
		case v.state != vm.Absent && v.state != vm.Foreign:
			return false, vm.StateError(v.state)
		}
		d.vms[name] = v
		v.owner = spec.Owner
		d.run(v, vm.Creating, Call{vm.OpCreate, name, spec}, v.state, func() {
			if d.cfg.Machine.write(name, spec) {
				v.notices = append(v.notices, vm.Notice{Warning: true, Reason: "LeftoverMoved", Message: "what was in the way was moved aside"})
			}
			v.state, v.version = vm.Stopped, spec.TemplateVersion
		})
		return true, nil
	})
}

// Apply implements vm.Driver.
func (d *Driver) Apply(name string, spec vm.Spec) error {
	return d.request(name, func(v *machineVM) (changed bool, err error) {
		switch {
		case v.state != vm.Stopped:
			return false, vm.StateError(v.state)
		case v.owner != spec.Owner:
			return false, errors.New("it belongs to another owner")
		case v.seen != nil && v.applying == spec.TemplateVersion:
			return false, nil
		case v.seen != nil:
			return false, errors.New("another template is being applied")
		case v.version == spec.TemplateVersion:
			return false, nil
		}
		v.applying = spec.TemplateVersion
		d.run(v, vm.Stopped, Call{vm.OpApply, name, spec}, vm.Stopped, func() {
			d.cfg.Machine.write(name, spec)
			v.state, v.version = vm.Stopped, spec.TemplateVersion
		})
		return true, nil
	})
}

// Start implements vm.Driver.
func (d *Driver) Start(name string) error {
	return d.request(name, func(v *machineVM) (changed bool, err error) {
		switch {
		case v.state == vm.Starting:
			return false, nil
		case d.draining:
			return false, errors.New("the daemon is shutting down")
		case v.state != vm.Stopped || v.seen != nil:
			return false, vm.StateError(v.state)
		}
		a := d.cfg.Machine.launch(name)
		v.agent, v.adopted = a, false
		d.run(v, vm.Starting, Call{vm.OpStart, name, vm.Spec{}}, vm.Stopped, func() {
			d.cfg.Machine.bootUp(a)
			v.state = vm.Running
		})
		go d.watch(v, a)
		return true, nil
	})
}

// Delete implements vm.Driver.
func (d *Driver) Delete(name string) error {
	return d.request(name, func(v *machineVM) (changed bool, err error) {
		switch {
		case v.state == vm.Deleting:
			return false, nil
		case v.state == vm.Creating:
			v.cancel()
		case v.state != vm.Stopped || v.seen != nil:
			return false, vm.StateError(v.state)
		}
		d.run(v, vm.Deleting, Call{vm.OpDelete, name, vm.Spec{}}, vm.Stopped, func() {
			v.state, v.owner, v.version, v.grace = d.cfg.Machine.remove(name), "", "", 0
		})
		return true, nil
	})
}

// SetGrace implements vm.Driver.
func (d *Driver) SetGrace(name string, grace time.Duration) error {
	return d.request(name, func(v *machineVM) (changed bool, err error) {
		switch v.state {
		case vm.Stopped, vm.Starting, vm.Running, vm.Stopping:
			v.grace = grace
			d.cfg.Machine.setGrace(name, grace)
			return false, nil
		}
		return false, vm.StateError(v.state)
	})
}

// request runs what a request does at once, and announces the change.
func (d *Driver) request(name string, do func(v *machineVM) (changed bool, err error)) error {
	d.mu.Lock()
	changed, err := false, errors.New("the driver is still verifying")
	if d.verified {
		changed, err = do(d.get(name))
	}
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("cannot do that to %q: %w", name, err)
	}
	if changed {
		d.cfg.Notify(name)
	}
	return nil
}

// Close implements vm.Driver.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	return nil
}
