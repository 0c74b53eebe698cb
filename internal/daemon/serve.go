package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-192657fa/rdd/internal/collector"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/late"
	"github.com/seed-192657fa/rdd/process"
)

// portsToTry bounds the search for a free port.
const portsToTry = 100

// Config is what a daemon serves.
type Config struct {
	Instance instance.Instance
	Settings Settings
	// Session are the flags that Settings owe to this session, for a restart that keeps them.
	Session []string
	// KeepVMs leaves the VMs to the next daemon when ctx is done and nobody has said how it is to end: a signal says nothing.
	KeepVMs bool
	Version string
	// Executable is rdd itself.
	Executable string
	// Agents is the program that runs as the agents of VMs; empty means Executable. Environ is their environment.
	Agents  string
	Environ []string
	Log     *slog.Logger
	// Logs are the files that a daemon in the background logs to; nil in the foreground.
	Logs *Logs
	// Announce tells whoever launched this process; nil for a daemon in the foreground.
	Announce *Announcer
}

// Serve runs the daemon until ctx is done, which is a request to shut down the VMs (unless they are kept) and then all else, or
// until a part fails. It returns an error that is ErrRunning where another daemon serves the instance, and an *AskedError where it
// was asked to end, and failed in that.
func Serve(ctx context.Context, cfg Config) (err error) {
	collector.Usual()
	late.Release()
	if err := cfg.Instance.CheckSocketPaths(); err != nil {
		return err
	}
	if err := MakeDirs(cfg.Instance); err != nil {
		return err
	}
	unlock, err := lock(cfg.Instance)
	if err != nil {
		return err
	}
	var record *Record
	// The files go first: without the lock they may be another daemon's.
	defer func() {
		err = errors.Join(err, leave(cfg.Instance, record, err), removeRequest(cfg.Instance), unlock())
	}()
	if err := cfg.Logs.begin(); err != nil {
		cfg.Log.Warn("logs of the past are not kept", "error", err) // no reason to serve nothing
	}
	if err := writeLimaDefaults(cfg.Instance); err != nil {
		return err
	}
	if record, err = newRecord(cfg); err != nil {
		return err
	}
	if err := writeRecord(cfg.Instance, record); err != nil {
		return err
	}
	listener, err := listen(&cfg)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the control plane does, where it comes to that
	ctx, deafen := withRequests(ctx, cfg.Instance, record.Identity, cfg.Log)
	defer deafen()
	parts := &composition{cfg: cfg, listener: listener}
	end := broken
	err = runParts(ctx, cfg.Log, parts.list(), hooks{
		ready: func() error { return announce(ctx, cfg, record, parts.server.Address()) },
		why: func() reason {
			keep := cfg.KeepVMs
			if r := readRequest(cfg.Instance, record.Identity); r != nil {
				keep = r.KeepVMs
			}
			if keep {
				return handover
			}
			return asked
		},
		ending: func(why reason) error {
			now := time.Now()
			end, record.Stopping, record.KeepVMs = why, &now, why != asked
			// Before it asks how long that takes: whoever wants to stop it, too, sees that it is stopping.
			err := writeRecord(cfg.Instance, record)
			by := now.Add(parts.prepareStop(why))
			record.StopBy = &by
			return errors.Join(err, writeRecord(cfg.Instance, record))
		},
	})
	if err != nil && end != broken {
		err = &AskedError{err}
	}
	return err
}

// AskedError is what a daemon could not do when it ended as it was asked to: no reason to start it again.
type AskedError struct{ error }

func (e *AskedError) Unwrap() error { return e.error }

// leave removes the daemon's record, unless there is something to say to whoever has asked it to end.
func leave(inst instance.Instance, record *Record, failure error) error {
	if failure == nil || record == nil || record.Stopping == nil {
		return removeRecord(inst)
	}
	record.Failure = failure.Error()
	return writeRecord(inst, record)
}

// announce tells whoever looks, and whoever waits, that the daemon is ready.
func announce(ctx context.Context, cfg Config, record *Record, address string) error {
	now := time.Now()
	record.Address, record.Ready = address, &now
	if err := writeRecord(cfg.Instance, record); err != nil {
		return err
	}
	cfg.Announce.Ready()
	cfg.Log.Info("ready", "address", record.Address, "took", now.Sub(record.StartedAt).Round(time.Millisecond))
	saveMemory(ctx)
	return nil
}

func newRecord(cfg Config) (*Record, error) {
	self, err := process.Self()
	if err != nil {
		return nil, fmt.Errorf("cannot identify this process: %w", err)
	}
	return &Record{
		Identity: self, Version: cfg.Version, Executable: cfg.Executable, Build: buildOf(cfg.Executable),
		Session: cfg.Session, StartedAt: time.Now(),
	}, nil
}

// listen takes the port that the user asked for or, if that was none, the one of the last time, the default, or the next free one
// after it; that is remembered.
func listen(cfg *Config) (net.Listener, error) {
	if port := cfg.Settings.SecurePort; port != 0 {
		listener, err := listenOn(port)
		if err != nil {
			return nil, fmt.Errorf("cannot serve on port %d: %w; choose another with --secure-port", port, err)
		}
		return listener, nil
	}
	first := cfg.Instance.DefaultPort()
	candidates := []int{cfg.Settings.LastPort}
	for i := range portsToTry {
		candidates = append(candidates, first+i)
	}
	var last error
	for _, port := range candidates {
		if port == 0 {
			continue
		}
		listener, err := listenOn(port)
		if err != nil {
			last = err
			continue
		}
		if err := remember(cfg.Instance, port); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		return listener, nil
	}
	return nil, fmt.Errorf("cannot serve on any of the ports %d to %d, on the last because of: %w; choose one with --secure-port",
		first, first+portsToTry-1, last)
}

// listenOn listens on the loopback interface. Its errors leave out what the user knows.
func listenOn(port int) (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	var call *os.SyscallError
	if errors.As(err, &call) && !errors.Is(err, syscall.EACCES) {
		return nil, call.Err
	}
	return listener, err
}

// remember saves the port in the settings as they are on disk: those of this session may be overridden by flags.
func remember(inst instance.Instance, port int) error {
	saved, exists, err := LoadSettings(inst)
	if err != nil || exists && saved.LastPort == port {
		return err
	}
	saved.LastPort = port
	return SaveSettings(inst, saved)
}
