package vmfake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
)

// run begins an operation, and does done when it has worked. It is called with the driver locked, and so is done.
func (d *Driver) run(v *machineVM, during vm.State, call Call, otherwise vm.State, done func()) {
	ctx, cancel := context.WithCancel(context.Background())
	seen := v.begin(during, cancel)
	behave := d.cfg.Machine.begin(call)
	go func() {
		defer cancel()
		err := behave(ctx, call)
		d.untilWatched(ctx, seen)
		d.mu.Lock()
		if v.seen != seen || d.isClosed() { // called off, or the work of a daemon that is gone
			d.mu.Unlock()
			return
		}
		v.seen, v.cancel = nil, nil
		if err != nil {
			v.state = otherwise
			v.drop(d)
			if v.state == vm.Absent || v.state == vm.Foreign {
				v.owner = ""
			}
			v.fail(call.Operation, err, "exit status 1", call.Spec.TemplateVersion)
		} else {
			done()
			if call.Operation != vm.OpStart {
				v.count = 0
			}
		}
		d.mu.Unlock()
		d.cfg.Notify(v.name)
	}()
}

// begin takes note of an operation; what was under way is called off.
func (v *machineVM) begin(state vm.State, cancel context.CancelFunc) (seen chan struct{}) {
	if v.cancel != nil {
		v.cancel()
	}
	v.state, v.cancel, v.watched, v.seen, v.failure = state, cancel, 0, make(chan struct{}), nil
	return v.seen
}

func (v *machineVM) fail(during vm.Operation, err error, exitStatus, version string) {
	v.count++
	v.failure = &vm.Failure{
		During: during, Message: fmt.Sprintf("cannot %s %s: %v", during, v.name, err), ExitStatus: exitStatus,
		TemplateVersion: version, LogTail: []string{"the last line of the log"}, At: time.Now(), Count: v.count,
	}
}

// drop lets go of the agent and ends it.
func (v *machineVM) drop(d *Driver) {
	if v.agent != nil {
		d.cfg.Machine.kill(v.name, v.agent)
		v.agent, v.adopted = nil, false
	}
}

// untilWatched waits until the operation was observed often enough, or nobody is going to any more.
func (d *Driver) untilWatched(ctx context.Context, seen <-chan struct{}) {
	if d.cfg.Watched == 0 {
		return
	}
	select {
	case <-seen:
	case <-ctx.Done():
	case <-d.drained:
	case <-d.closed:
	}
}

// Stop implements vm.Driver.
func (d *Driver) Stop(name string, grace time.Duration) error {
	return d.request(name, func(v *machineVM) (changed bool, err error) {
		switch v.state {
		case vm.Stopping:
			d.shorten(v, grace)
			return false, nil
		case vm.Starting, vm.Running:
		default:
			return false, vm.StateError(v.state)
		}
		ctx, cancel := context.WithCancel(context.Background())
		seen := v.begin(vm.Stopping, cancel)
		v.force, v.forced, v.forceAt = make(chan struct{}), false, time.Time{}
		call := Call{vm.OpStop, name, vm.Spec{}}
		behave, force, a := d.cfg.Machine.begin(call), v.force, v.agent
		d.shorten(v, grace)
		go func() {
			defer cancel()
			down := make(chan error, 1)
			go func() { down <- behave(ctx, call) }()
			var err error
			select {
			case err = <-down:
			case <-force:
			case <-a.gone:
			}
			d.untilWatched(ctx, seen)
			d.stopped(v, seen, err)
		}()
		return true, nil
	})
}

// shorten sets the end of the grace, unless it ends sooner already. It is called with the driver locked.
func (d *Driver) shorten(v *machineVM, grace time.Duration) {
	at := time.Now().Add(grace)
	if v.forced || (!v.forceAt.IsZero() && v.forceAt.Before(at)) {
		return
	}
	v.forceAt = at
	if v.deadline != nil {
		v.deadline.Stop()
	}
	force := v.force
	end := func() {
		if v.force == force && !v.forced && v.state == vm.Stopping {
			v.forced = true
			close(force)
		}
	}
	if grace <= 0 {
		end()
		return
	}
	v.deadline = time.AfterFunc(grace, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		end()
	})
}

func (d *Driver) stopped(v *machineVM, seen chan struct{}, err error) {
	d.mu.Lock()
	if v.seen != seen || d.isClosed() {
		d.mu.Unlock()
		return
	}
	v.seen, v.cancel = nil, nil
	if v.deadline != nil {
		v.deadline.Stop()
	}
	if err != nil && !v.forced {
		v.state = vm.Running
		v.fail(vm.OpStop, err, "", "")
	} else {
		v.state, v.count = vm.Stopped, 0
		v.drop(d)
		if v.forced {
			v.notices = append(v.notices, vm.Notice{Warning: true, Reason: "ForcedStop", Message: v.name + " did not shut down in time"})
		}
	}
	d.mu.Unlock()
	d.cfg.Notify(v.name)
}

// watch waits for the end of an agent that nobody asked for.
func (d *Driver) watch(v *machineVM, a *agent) {
	select {
	case <-a.gone:
	case <-d.closed:
		return
	}
	d.mu.Lock()
	if v.agent != a || v.state == vm.Stopping || d.isClosed() {
		d.mu.Unlock()
		return
	}
	during := vm.OpStart
	if v.state == vm.Running {
		during = vm.OpRun
	}
	if v.cancel != nil {
		v.cancel()
	}
	if d.cfg.Machine.isUp(a) && time.Since(a.StartedAt) >= healthy {
		v.count = 0
	}
	v.state, v.agent, v.adopted, v.seen, v.cancel = vm.Stopped, nil, false, nil, nil
	v.fail(during, errors.New("the agent died"), "signal: killed", "")
	d.mu.Unlock()
	d.cfg.Notify(v.name)
}

// isClosed is called with the driver locked.
func (d *Driver) isClosed() bool {
	select {
	case <-d.closed:
		return true
	default:
		return false
	}
}

// Drain implements vm.Driver.
func (d *Driver) Drain(ctx context.Context, grace func(name string) time.Duration) error {
	d.mu.Lock()
	if !d.draining {
		d.draining = true
		close(d.drained)
	}
	var agents []*agent
	var names []string
	for name, v := range d.vms {
		names = append(names, name)
		if v.agent != nil {
			agents = append(agents, v.agent)
		}
	}
	d.mu.Unlock()
	for _, name := range names {
		d.cfg.Notify(name)
		_ = d.Stop(name, grace(name)) // refused by those that do not live
	}
	for _, a := range agents {
		select {
		case <-a.gone:
		case <-ctx.Done():
			return fmt.Errorf("cannot stop all VMs: %w", ctx.Err())
		}
	}
	return nil
}
