// Package lima owns the VMs that Lima runs: one supervisor for each, which starts its children, watches them, and knows at
// any moment where the instance stands. Lima's library itself runs in those children only (internal/hostagent).
//
// What there is of an instance is told by one record beside it; what runs of it, by the identities in that record and in
// the ledger of its agent. Nothing here trusts a PID file, or waits for a VM while somebody asks. What tells of its own end is waited
// for; the rest, such as a disk that cannot be read, or who lives in a directory that is in the way, is looked at ever more rarely.
package lima

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// Config is what a driver needs to know.
type Config struct {
	// Home is LIMA_HOME: absolute, on a local disk, and short enough for the sockets of the instances.
	Home string
	// Suffix is what Lima's names have that the VMs' names do not: where names are shared with other LIMA_HOMEs, it keeps the
	// VMs of one rdd instance apart from those of another.
	Suffix string
	// Executable is the program that has the commands of internal/hostagent.
	Executable string
	// Env is the environment of the children; LIMA_HOME is added. It must have HOME and PATH.
	Env []string
	// GuestAgentDir is where children unpack the guest agent.
	GuestAgentDir string
	// WSLTimeout is what a call of wsl.exe is given; zero means the usual time.
	WSLTimeout time.Duration
	Log        *slog.Logger
	// Notify is called after every change of what Observe returns for name. It must not block.
	Notify func(name string)
}

// Driver implements vm.Driver.
type Driver struct {
	cfg   Config
	accel *accel
	keys  *keys

	ctx    context.Context // done when the driver is closed; ends what the driver does, and no VM
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu          sync.Mutex
	supervisors map[string]*supervisor
	draining    bool
	closed      bool
	changed     chan struct{} // closed, and replaced, on every change; Drain waits on it
}

var _ vm.Driver = (*Driver)(nil)

var (
	errDraining = errors.New("the daemon is shutting down")
	errClosed   = errors.New("the driver is closed")
)

// validName is Lima's own rule for instance names, without the leading underscore that Lima reserves.
var validName = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$`)

// New takes over what an earlier daemon has left under cfg.Home. It returns at once; instances that are still being verified
// are Unknown until they are.
func New(cfg Config) (*Driver, error) {
	switch {
	case !filepath.IsAbs(cfg.Home):
		return nil, fmt.Errorf("cannot use LIMA_HOME %q: it is not an absolute path", cfg.Home)
	case cfg.Executable == "" || cfg.Log == nil || cfg.Notify == nil:
		return nil, errors.New("cannot make a driver without executable, log and notify function")
	}
	records := instancedir.Records(cfg.Home)
	if err := os.MkdirAll(records, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the instance records: %w", err)
	}
	entries, err := os.ReadDir(records)
	if err != nil {
		return nil, fmt.Errorf("cannot read the instance records: %w", err)
	}
	d := &Driver{cfg: cfg, accel: newAccel(cfg.Env), keys: newKeys(cfg.Home), supervisors: map[string]*supervisor{}, changed: make(chan struct{})}
	if err := d.keys.sweep(); err != nil {
		cfg.Log.Warn("cannot remove what was left of an interrupted change of the ssh keys", "err", err)
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	for _, entry := range entries {
		name, ours := strings.CutSuffix(entry.Name(), cfg.Suffix)
		if entry.IsDir() && ours && validName.MatchString(name) {
			d.supervisor(name)
		}
	}
	return d, nil
}

// supervisor returns the one of name, and has it look at the disk when it is new.
func (d *Driver) supervisor(name string) *supervisor {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.supervisors[name]
	if s == nil {
		s = newSupervisor(d, name)
		d.supervisors[name] = s
		if !d.closed {
			d.work.Go(s.load)
		}
	}
	return s
}

func (d *Driver) all() []*supervisor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.supervisors))
}

// Observe implements vm.Driver. It looks at memory only.
func (d *Driver) Observe(name string) vm.Observed {
	if !validName.MatchString(name) {
		return vm.Observed{State: vm.Absent}
	}
	s := d.supervisor(name)
	observed := s.observe()
	d.mu.Lock()
	defer d.mu.Unlock()
	observed.Draining = d.draining
	return observed
}

// Create implements vm.Driver.
func (d *Driver) Create(name string, spec vm.Spec) error {
	if err := d.open(true); err != nil {
		return fmt.Errorf("cannot create %q: %w", name, err)
	}
	s, err := d.loaded(name)
	if err == nil {
		err = s.create(spec)
	}
	if err != nil {
		return fmt.Errorf("cannot create %q: %w", name, err)
	}
	return nil
}

// Apply implements vm.Driver.
func (d *Driver) Apply(name string, spec vm.Spec) error {
	return d.request("apply a template to", name, false, func(s *supervisor) error { return s.apply(spec) })
}

// Start implements vm.Driver.
func (d *Driver) Start(name string) error {
	return d.request("start", name, true, (*supervisor).start)
}

// Stop implements vm.Driver.
func (d *Driver) Stop(name string, grace time.Duration) error {
	return d.request("stop", name, false, func(s *supervisor) error { return s.stop(grace) })
}

// Delete implements vm.Driver.
func (d *Driver) Delete(name string) error {
	return d.request("delete", name, false, (*supervisor).delete)
}

func (d *Driver) request(what, name string, begins bool, do func(*supervisor) error) error {
	err := d.open(begins)
	var s *supervisor
	if err == nil {
		s, err = d.loaded(name)
	}
	if err == nil {
		err = do(s)
	}
	if err != nil {
		return fmt.Errorf("cannot %s %q: %w", what, name, err)
	}
	return nil
}

// open tells whether requests are taken; one that begins something is refused while draining.
func (d *Driver) open(begins bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refuses(begins)
}

// refuses is open for who holds the lock.
func (d *Driver) refuses(begins bool) error {
	switch {
	case d.closed:
		return errClosed
	case begins && d.draining:
		return errDraining
	}
	return nil
}

// loadTimeout is how long a request waits for the first look at the disk. It takes a millisecond, or the disk hangs.
const loadTimeout = 500 * time.Millisecond

// loaded returns the supervisor of name once it knows what is on disk.
func (d *Driver) loaded(name string) (*supervisor, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name for an instance", name)
	}
	s := d.supervisor(name)
	ctx, cancel := context.WithTimeout(d.ctx, loadTimeout)
	defer cancel()
	select {
	case <-s.looked:
		return s, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("what is on disk is not known yet: %w", ctx.Err())
	}
}

// notify tells everybody who waits that something has changed.
func (d *Driver) notify(name string) {
	d.mu.Lock()
	close(d.changed)
	d.changed = make(chan struct{})
	closed := d.closed
	d.mu.Unlock()
	if !closed {
		d.cfg.Notify(name)
	}
}

// Drain implements vm.Driver.
func (d *Driver) Drain(ctx context.Context, grace func(name string) time.Duration) error {
	d.mu.Lock()
	d.draining = true
	d.mu.Unlock()
	asked := map[*supervisor]bool{}
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		var busy []string
		var doubts []error
		for _, s := range d.all() {
			if s.quiet() {
				doubts = append(doubts, s.doubt())
				continue
			}
			busy = append(busy, s.name)
			if !asked[s] { // one that was Unknown turns out to run later
				asked[s] = s.drain(grace(s.name))
			}
		}
		if len(busy) == 0 {
			if err := errors.Join(doubts...); err != nil {
				return err // a VM that cannot be seen may run, and need its network
			}
			return instancedir.EndNetworks(ctx, d.cfg.Home)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			slices.Sort(busy)
			return fmt.Errorf("cannot stop all VMs: %s: %w", strings.Join(busy, ", "), ctx.Err())
		}
	}
}

// closeTimeout bounds the wait for what the driver itself does: none of it waits for a VM.
const closeTimeout = 10 * time.Second

// Close implements vm.Driver.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	done := make(chan struct{})
	go func() {
		d.work.Wait()
		close(done)
	}()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	select {
	case <-done:
		return nil
	case <-timeout.C:
		return fmt.Errorf("cannot close the driver: it is still busy after %v", closeTimeout)
	}
}

// isGone tells whether a file is not there.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
