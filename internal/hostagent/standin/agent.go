package standin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

const (
	// signalGrace is what a VM gets when a signal asks.
	signalGrace = 30 * time.Second
	// endTimeout is what is left to end in after force.
	endTimeout = time.Second
)

// agent is one run of a VM.
type agent struct {
	*standin
	self    process.Identity
	journal *control.Journal

	mu       sync.Mutex
	state    control.State
	ctx      context.Context // until it is asked to stop
	cancel   context.CancelFunc
	stopping bool
	forceAt  time.Time
	grace    *time.Timer
	power    *os.File      // to the driver's power button; nil while there is none
	gaveUp   chan struct{} // closed a while after force was used
}

func (s *standin) runAgent(ctx context.Context) error {
	pipe, err := process.ExtraFile(0)
	if err != nil {
		return err
	}
	if err = s.runAgentOn(ctx, pipe); err != nil {
		_ = tell(pipe, control.Note{Failure: err.Error()}) // nobody may be left to read it
	}
	return err
}

func (s *standin) runAgentOn(ctx context.Context, pipe *os.File) error {
	boot, err := s.readBoot()
	if err != nil {
		return err
	}
	if err := s.step(ctx, AgentBegins); err != nil {
		return err
	}
	self, err := process.Self()
	if err != nil {
		return err
	}
	journal, err := control.CreateJournal(s.dir.Journal())
	if err != nil {
		return err
	}
	a := &agent{
		standin: s, self: self, journal: journal, gaveUp: make(chan struct{}),
		state: control.State{Phase: control.Preparing, StartedAt: time.Now()},
	}
	a.ctx, a.cancel = context.WithCancel(ctx)
	defer a.cancel()
	server, err := a.serve(boot, pipe)
	if err != nil {
		return err
	}
	lived := make(chan error, 1)
	go func() { lived <- a.live() }()
	select {
	case err = <-lived:
	case <-a.gaveUp:
		err = nil
	}
	a.mu.Lock()
	stopping := a.stopping
	a.mu.Unlock()
	if stopping {
		err = nil
	}
	a.end(err)
	_ = journal.Close()
	server.Close(endTimeout)
	return err
}

// serve opens the control socket, and listens to signals.
func (a *agent) serve(boot control.Boot, pipe *os.File) (*control.Server, error) {
	server, err := control.NewServer(a.faults.speaks(), boot.Instance, a.self, boot.Token, a, a.journal)
	if err != nil {
		return nil, err
	}
	listener, err := control.Listen(a.dir.ControlSocket())
	if err != nil {
		return nil, err
	}
	if !a.faults.Mute {
		go func() { _ = server.Serve(listener) }()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range signals {
			if !a.faults.IgnoreSignals {
				a.stop(signalGrace)
			}
		}
	}()
	_ = tell(pipe, control.Note{Ready: true}) // nobody may be left to read it
	return server, nil
}

// State implements control.Agent.
func (a *agent) State() control.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	state := a.state
	state.Offset = a.journal.Size()
	if a.faults.speaks().Newest == 1 {
		state.RunningSince = time.Time{}
	}
	return state
}

// Stop implements control.Agent.
func (a *agent) Stop(grace time.Duration) {
	if !a.faults.IgnoreStop {
		a.stop(grace)
	}
}

func (a *agent) stop(grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Now().Add(grace)
	if a.stopping {
		if at.Before(a.forceAt) {
			a.forceAt = at
			a.grace.Reset(grace)
		}
		return
	}
	a.stopping, a.forceAt = true, at
	a.cancel()
	_ = a.journal.Note(control.Note{Stopping: true})
	a.state.Phase = control.Stopping
	a.grace = time.AfterFunc(grace, sync.OnceFunc(a.force))
	go a.pressPower(a.power)
}

// pressPower has the guest shut down.
func (a *agent) pressPower(power *os.File) {
	if a.step(context.Background(), AgentStopping) == nil && power != nil {
		_, _ = power.WriteString("powerdown\n")
	}
}

func (a *agent) force() {
	_ = a.journal.Note(control.Note{Forced: true})
	_ = a.killAll()
	time.AfterFunc(endTimeout, func() { close(a.gaveUp) })
}

// killAll ends all that the agent has started.
func (a *agent) killAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return process.KillTree(ctx, a.self)
}

func (a *agent) say(status control.Status) error {
	text, err := json.Marshal(control.Event{Time: time.Now(), Status: status})
	if err == nil {
		_, err = a.journal.Write(append(text, '\n'))
	}
	return err
}

// live runs the VM, and returns when it is down.
func (a *agent) live() error {
	if err := a.step(a.ctx, AgentListens); err != nil {
		return err
	}
	config, err := a.prepare()
	if err != nil {
		return err
	}
	container, err := process.Contain(a.dir.Ledger())
	if err != nil {
		return err
	}
	tracking, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _ = container.Track(tracking, nil) }()
	if err := a.step(a.ctx, AgentContained); err != nil {
		return err
	}
	if err := a.lockDisks(config.AdditionalDisks); err != nil {
		return err
	}
	limasSocket, err := net.Listen("unix", a.dir.AgentSocket())
	if err != nil {
		return err
	}
	defer limasSocket.Close()
	if err := os.WriteFile(a.dir.AgentPID(), []byte(strconv.Itoa(a.self.PID)), 0o600); err != nil {
		return err
	}
	driver, err := a.startDriver()
	if err != nil {
		return err
	}
	if err := a.boot(driver); err != nil {
		return err
	}
	<-driver.Done()
	if err := a.step(context.Background(), DriverEnded); err != nil {
		return err
	}
	return errors.New("the VM ended by itself")
}

func (a *agent) prepare() (config, error) {
	notices, err := a.dir.Clear(a.self)
	if err != nil {
		return config{}, err
	}
	for _, notice := range notices {
		_ = a.journal.Note(control.Note{Notice: &notice})
	}
	template, err := os.ReadFile(a.dir.Template())
	if err != nil {
		return config{}, err
	}
	config, err := parse(template)
	if err != nil {
		return config, err
	}
	_ = a.journal.Note(control.Note{Progress: &vm.Progress{Stage: "Preparing", Percent: -1}})
	return config, a.journal.Note(control.Note{Instance: config.describe(a.dir)})
}

// lockDisks does as Lima does with the disks that a template adds: each may be in use by one instance.
func (a *agent) lockDisks(names []string) error {
	for _, name := range names {
		lock := filepath.Join(a.dir.Home, "_disks", name, "in_use_by")
		if err := os.Symlink(a.dir.Path(), lock); err != nil {
			return fmt.Errorf("cannot use disk %q: it is in use: %w", name, err)
		}
	}
	return nil
}

// startDriver starts the guest, and those that lose their parents: what ssh's control master is of a real VM, and the strays.
func (a *agent) startDriver() (*process.Child, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	input, power, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	output, up, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer output.Close()
	driver, err := process.Start(process.Command{
		Path: path, Args: []string{"qemu-system-standin", "hostagent", "driver", a.dir.Name}, Stdin: input, Stdout: up, Stderr: os.Stderr,
	})
	if err = errors.Join(err, input.Close(), up.Close()); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the driver did not come up: %w", err)
	}
	orphans := []string{"sleep 1000000 &"}
	for range a.faults.Strays {
		orphans = append(orphans, "trap '' INT TERM HUP; (sleep 1000000 &) &")
	}
	for _, script := range orphans {
		parent, err := process.Start(process.Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}})
		if err != nil {
			return nil, err
		}
		<-parent.Done()
	}
	id := driver.Identity()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Driver, a.state.SSHPort, a.power = id, 1024+id.PID%60000, power
	if a.stopping { // too early for the button
		go a.pressPower(power)
	}
	return driver, a.journal.Note(control.Note{Driver: &id})
}

// boot waits until the guest is up.
func (a *agent) boot(driver *process.Child) error {
	if err := a.step(context.WithoutCancel(a.ctx), DriverStarted); err != nil {
		return err
	}
	a.mu.Lock()
	if !a.stopping {
		a.state.Phase = control.Booting
	}
	status := control.Status{SSHLocalPort: a.state.SSHPort}
	a.mu.Unlock()
	err := errors.Join(a.say(status), a.journal.Note(control.Note{Progress: &vm.Progress{Stage: "Booting", Percent: -1}}))
	if err != nil {
		return err
	}
	select {
	case <-time.After(a.faults.BootTime):
	case <-driver.Done():
		return nil
	case <-a.ctx.Done():
		return nil
	}
	if err := a.step(context.WithoutCancel(a.ctx), AgentRunning); err != nil {
		return err
	}
	status.Running, status.Degraded, status.Errors = true, len(a.faults.Degraded) > 0, a.faults.Degraded
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping {
		return nil
	}
	a.state.Phase, a.state.Errors, a.state.RunningSince = control.Running, status.Errors, time.Now()
	return a.say(status)
}

// end leaves nothing behind, and says how it went.
func (a *agent) end(cause error) {
	if !a.faults.Litter && a.killAll() == nil {
		notices, err := a.dir.Clear(a.self)
		for _, notice := range notices {
			_ = a.journal.Note(control.Note{Notice: &notice})
		}
		if err = errors.Join(err, a.dir.RemoveControlSocket()); err != nil {
			_ = a.journal.Note(control.Note{Notice: &vm.Notice{Warning: true, Reason: "LeftoverKept", Message: err.Error()}})
		}
	}
	if cause != nil {
		_ = a.journal.Note(control.Note{Failure: cause.Error()})
		return
	}
	_ = a.journal.Note(control.Note{Done: true})
}
