package hostagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	limahostagent "github.com/lima-vm/lima/v2/pkg/hostagent"
	limaserver "github.com/lima-vm/lima/v2/pkg/hostagent/api/server"
	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/sirupsen/logrus"

	"github.com/seed-192657fa/rdd/internal/hostagent/control"
	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/hostagent/vmtype"
	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/process"
)

// errStopped is the cause of what a stop cuts short.
var errStopped = errors.New("it was asked to stop")

// errEnded says that the VM ended and nobody had asked it to.
var errEnded = errors.New("the VM ended by itself")

// runAgent is the whole life of an agent. Why it fails goes to the journal and through the pipe: the disk may not take it.
func runAgent(ctx context.Context, name string) error {
	return reporting(func(to *pipe) error { return runAgentOn(ctx, name, to) })
}

func runAgentOn(ctx context.Context, name string, pipe *pipe) error {
	saveMemory()
	setUpLima()
	boot, err := readBoot(os.Stdin, name)
	if err != nil {
		return err
	}
	_ = os.Stdin.Close() // an agent does not care whether its daemon lives
	dir, err := dirOf(boot)
	if err != nil {
		return err
	}
	self, err := process.Self()
	if err != nil {
		return err
	}
	journal, err := control.CreateJournal(dir.Journal())
	if err != nil {
		return err
	}
	a := newAgent(ctx, self, journal)
	defer a.cancel(nil)
	server, err := a.serve(boot, dir, pipe)
	if err != nil {
		return err
	}
	err = a.live(a.ctx, boot, dir)
	if a.wasStopped() {
		err = nil // what a stop cuts short may well fail
	}
	a.end(dir, err)
	_ = journal.Close()
	server.Close(endTimeout)
	return err
}

// serve opens the control socket, tells the daemon, and listens to signals. From here on the agent can be stopped.
func (a *agent) serve(boot control.Boot, dir instancedir.Dir, pipe *pipe) (*control.Server, error) {
	server, err := control.NewServer(control.Spoken(), boot.Instance, a.self, boot.Token, a, a.journal)
	if err != nil {
		return nil, err
	}
	listener, err := control.Listen(dir.ControlSocket())
	if err != nil {
		return nil, err
	}
	go func() {
		if err := server.Serve(listener); err != nil {
			logrus.WithError(err).Error("the control socket failed") // signals still work
		}
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range signals {
			a.Stop(signalGrace)
		}
	}()
	// Nobody may be left to read it: then the next daemon finds this agent by its record.
	_ = pipe.Note(control.Note{Ready: true})
	return server, nil
}

// live prepares and runs the VM, and returns when it is down.
func (a *agent) live(ctx context.Context, boot control.Boot, dir instancedir.Dir) error {
	progress(a, "Preparing", -1, "")
	countDownloads(a)
	logrus.AddHook(&stages{to: a})
	logrus.AddHook(&guard{dir: dir})
	notices, err := dir.Clear(a.self)
	if err != nil {
		return err
	}
	for _, notice := range notices {
		_ = a.Note(control.Note{Notice: &notice})
	}
	inst, err := inspect(ctx, boot.Instance)
	if err != nil {
		return err
	}
	_ = a.Note(control.Note{Instance: describe(inst)})
	if err := ensureNetworks(ctx, boot, inst, a); err != nil { // before Contain: networks are shared, and outlive this VM
		return err
	}
	container, err := process.Contain(dir.Ledger())
	if err != nil {
		return err
	}
	tracking, stopTracking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTracking()
	go a.track(tracking, container, dir, vmtype.Of(inst.VMType))

	host, err := a.prepareHost(ctx, boot, inst, dir)
	if err != nil {
		return err
	}
	answer, err := serveLima(host, dir)
	if err != nil {
		return err
	}
	defer answer.Close()
	if a.wasStopped() {
		return errStopped
	}
	if vmtype.Of(inst.VMType).Forwarded {
		logrus.AddHook(&sshWaiter{ctx: ctx, port: a.sshPort})
	}
	progress(a, "Booting", -1, "")
	// The VM's own context is never cancelled: Lima binds QEMU to it, and cancelling would pull the plug.
	err = waitVM(func() error { return host.Run(context.WithoutCancel(ctx)) }, a.gaveUp)
	if err == nil {
		err = errEnded
	}
	return err
}

// prepareHost brings Lima to where the VM can be started.
func (a *agent) prepareHost(ctx context.Context, boot control.Boot, inst *limatype.Instance, dir instancedir.Dir) (*limahostagent.HostAgent, error) {
	if boot.Emulate {
		if err := emulate(inst); err != nil {
			return nil, err
		}
	}
	prepared, err := prepare(ctx, boot, inst, a)
	if err != nil {
		return nil, err
	}
	if err := writePIDFile(dir.AgentPID()); err != nil {
		return nil, err
	}
	opts := []limahostagent.Opt{}
	if prepared.GuestAgent != "" {
		opts = append(opts, limahostagent.WithGuestAgentBinary(prepared.GuestAgent))
	}
	if prepared.NerdctlArchiveCache != "" {
		opts = append(opts, limahostagent.WithNerdctlArchive(prepared.NerdctlArchiveCache))
	}
	host, err := limahostagent.New(context.WithoutCancel(ctx), boot.Instance, a, a.lima, opts...)
	if err != nil {
		return nil, fmt.Errorf("cannot set the VM up: %w", err)
	}
	return host, nil
}

// serveLima answers Lima's own tools, as limactl's agent does.
func serveLima(host *limahostagent.HostAgent, dir instancedir.Dir) (*http.Server, error) {
	mux := http.NewServeMux()
	limaserver.AddRoutes(mux, &limaserver.Backend{Agent: host})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	listener, err := net.Listen("unix", dir.AgentSocket())
	if err != nil {
		return nil, fmt.Errorf("cannot listen for Lima's tools: %w", err)
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logrus.WithError(err).Warn("the socket for Lima's tools failed")
		}
	}()
	return server, nil
}

// track keeps the ledger complete, and finds out which process carries the VM.
func (a *agent) track(ctx context.Context, container *process.Container, dir instancedir.Dir, kind vmtype.Type) {
	go a.followDriver(ctx, container.Look, dir, kind)
	persist(ctx, func() error { return container.Track(ctx, nil) })
}

// followDriver looks for the process that carries the VM with each event of Lima's: they tell when there may be something new.
// The journal ends before ctx does, or with it.
func (a *agent) followDriver(ctx context.Context, look func() ([]process.Info, error), dir instancedir.Dir, kind vmtype.Type) {
	from, started := int64(0), false
	persist(ctx, func() error {
		return a.journal.Follow(ctx, from, func(entry control.Entry) error {
			var event control.Event
			// An event may be here before the agent has taken it in.
			started = started || (json.Unmarshal(entry.Event, &event) == nil && event.Status.SSHLocalPort != 0)
			if started { // what looks like a driver before that is Lima asking QEMU what it can do
				found, err := look()
				if err != nil {
					return err
				}
				if id, ok := driverOf(found, dir, a.self, kind); ok {
					a.driverFound(id)
				}
			}
			from = entry.Next
			return nil
		})
	})
}

// lookPause is between two tries to look at the agent's processes.
const lookPause = 5 * time.Second

// persist calls do until it returns nil or ctx is done. An agent lives for weeks, and a full disk or a lack of descriptors passes.
func persist(ctx context.Context, do func() error) {
	for err := do(); err != nil && ctx.Err() == nil; err = do() {
		logrus.WithError(err).Error("cannot keep the ledger of processes; it is tried again")
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return
		}
	}
}

// driverOf picks the process that carries the VM: the agent itself where the VM is a part of it, or the one whose PID Lima's
// driver has written down, if it is one of ours, or else the one of the right name.
func driverOf(found []process.Info, dir instancedir.Dir, self process.Identity, kind vmtype.Type) (process.Identity, bool) {
	if kind.InAgent {
		return self, true
	}
	for _, pid := range dir.DriverPIDs() {
		if pid == self.PID {
			return self, true // an external driver may run inside of the agent, too
		}
		for _, info := range found {
			if info.PID == pid {
				return info.Identity, true
			}
		}
	}
	for _, info := range found {
		if kind.Process != "" && strings.HasPrefix(info.Name, kind.Process) {
			return info.Identity, true
		}
	}
	return process.Identity{}, false
}

// end leaves nothing behind, and says how it went. The VM is down, or its processes could not be killed.
func (a *agent) end(dir instancedir.Dir, cause error) {
	if a.killAll() { // ssh's control master and the like
		notices, err := dir.Clear(a.self)
		for _, notice := range notices {
			_ = a.Note(control.Note{Notice: &notice})
		}
		if err = errors.Join(err, dir.RemoveControlSocket()); err != nil {
			_ = a.Note(control.Note{Notice: warning("LeftoverKept", oneLine(err))})
		}
	}
	if cause != nil {
		logrus.WithError(cause).Error("the agent ends")
		_ = a.Note(control.Note{Failure: oneLine(cause)})
		return
	}
	_ = a.Note(control.Note{Done: true})
}

func writePIDFile(path string) error {
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return fmt.Errorf("cannot write the PID file for Lima's tools: %w", err)
	}
	return nil
}

func warning(reason, message string) *vm.Notice {
	return &vm.Notice{Warning: true, Reason: reason, Message: message}
}
