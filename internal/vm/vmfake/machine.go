// Package vmfake owns a vm.Driver for tests: VMs in memory, which fail, hang and crash when told to.
//
// A Machine is what outlives a driver, as disk and processes outlive a daemon; make several drivers over it, one after the
// other, to try what a restart of the daemon does.
package vmfake

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// Call is one operation of a fake VM.
type Call struct {
	Operation vm.Operation
	Name      string
	Spec      vm.Spec // of Create and Apply
}

// Behaviour decides what becomes of an operation: it fails with the error that is returned, and hangs until then. The
// context is done when the operation is called off: a Create by Delete, a Start by Stop, a Stop when its grace is over.
type Behaviour func(ctx context.Context, call Call) error

// Machine holds instances and their agents. Its zero value is not usable; call NewMachine.
type Machine struct {
	mu        sync.Mutex
	instances map[string]*instance
	behave    Behaviour
	calls     []Call
	aside     map[string]bool // names of what was foreign and in the way
	pid       int
}

// instance is what is on disk, and the agent that runs it.
type instance struct {
	foreign    bool
	spec       vm.Spec
	grace      time.Duration
	agent      *agent
	died       bool // its last agent died without having been asked to
	exitStatus string
}

type agent struct {
	vm.Host
	up       bool
	degraded []string
	gone     chan struct{} // closed at its end
}

// NewMachine makes an empty machine on which everything works at once.
func NewMachine() *Machine {
	return &Machine{instances: map[string]*instance{}, aside: map[string]bool{}, pid: 10000}
}

// Behave decides from now on what becomes of operations; nil lets everything work at once.
func (m *Machine) Behave(behave Behaviour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behave = behave
}

// Calls lists what has been begun so far.
func (m *Machine) Calls() []Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Call(nil), m.calls...)
}

// Count tells how many operations of a kind have been begun on an instance.
func (m *Machine) Count(operation vm.Operation, name string) int {
	n := 0
	for _, call := range m.Calls() {
		if call.Operation == operation && call.Name == name {
			n++
		}
	}
	return n
}

// Crash ends the agent of an instance from outside, as SIGKILL does. It tells whether there was one.
func (m *Machine) Crash(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.instances[name]
	if i == nil || i.agent == nil {
		return false
	}
	i.died, i.exitStatus = true, "signal: killed"
	i.end()
	return true
}

// Degrade has the agent of an instance report what does not work. A driver notices when it is next asked.
func (m *Machine) Degrade(name string, messages ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.instances[name]
	if i == nil || i.agent == nil {
		return fmt.Errorf("cannot degrade %s: it does not run", name)
	}
	i.agent.degraded = messages
	return nil
}

// PlantForeign makes a directory that is not of rdd.
func (m *Machine) PlantForeign(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.instances[name] = &instance{foreign: true}
}

// Exists tells whether there is a directory of that name, and whose.
func (m *Machine) Exists(name string) (foreign, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.instances[name]
	return i != nil && i.foreign, i != nil
}

// MovedAside tells whether what was foreign has made room for an instance of that name.
func (m *Machine) MovedAside(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.aside[name]
}

// begin records a call and returns what decides about it.
func (m *Machine) begin(call Call) Behaviour {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
	if m.behave == nil {
		return func(context.Context, Call) error { return nil }
	}
	return m.behave
}

// launch starts an agent.
func (m *Machine) launch(name string) *agent {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pid += 2
	a := &agent{
		Host: vm.Host{
			Agent:     process.Identity{PID: m.pid, StartTime: uint64(m.pid), BootID: "fake"},
			Driver:    process.Identity{PID: m.pid + 1, StartTime: uint64(m.pid), BootID: "fake"},
			StartedAt: time.Now(),
		},
		gone: make(chan struct{}),
	}
	i := m.instances[name]
	i.agent, i.died, i.exitStatus = a, false, ""
	return a
}

// end is called with the machine locked.
func (i *instance) end() {
	if i.agent != nil {
		close(i.agent.gone)
		i.agent = nil
	}
}

// kill ends an agent as its driver does.
func (m *Machine) kill(name string, a *agent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.instances[name]; i != nil && i.agent == a {
		i.end()
	}
}

// bootUp tells that the guest of an agent answers, unless that has ended.
func (m *Machine) bootUp(a *agent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a.up = true
}

// write tells whether it had to move something aside.
func (m *Machine) write(name string, spec vm.Spec) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.instances[name]
	if i != nil && !i.foreign {
		i.spec = spec
		return false
	}
	m.instances[name] = &instance{spec: spec}
	if i != nil {
		m.aside[name] = true
	}
	return i != nil
}

func (m *Machine) setGrace(name string, grace time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.instances[name].grace = grace
}

// remove returns what is left.
func (m *Machine) remove(name string) vm.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.instances[name]; i != nil && i.foreign {
		return vm.Foreign
	}
	delete(m.instances, name)
	return vm.Absent
}

// look returns a copy of what there is; nil where nothing is.
func (m *Machine) look(name string) *instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.instances[name]; i != nil {
		found := *i
		return &found
	}
	return nil
}

func (m *Machine) degradation(a *agent) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), a.degraded...)
}

func (m *Machine) isUp(a *agent) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return a.up
}
