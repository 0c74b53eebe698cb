package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRecycledPID gives the PID of a process that has ended to another one, really, in a PID namespace where we may say which
// PID comes next. The start time is then the only difference between the two.
func TestRecycledPID(t *testing.T) {
	rope, _ := pipe(t)
	_, proof := pipe(t)
	cmd := exec.CommandContext(deadline(t), executable(t), t.TempDir())
	cmd.Env = append(os.Environ(), roleVariable+"=recycler")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	inherit(cmd, rope, proof)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Fatal("this system lets no ordinary user make a PID namespace: run this test as root")
	}
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// recycle runs as the init of its PID namespace, and says what is wrong.
func recycle(c *cast) int {
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	for name, try := range map[string]func(*exchange) error{
		"a stored identity":                   storedIdentity,
		"a record on disk":                    storedRecord,
		"an open handle":                      openHandle,
		"between opening and looking":         betweenOpeningAndLooking,
		"between listing and verifying":       betweenListingAndVerifying,
		"between the mark and the handle":     betweenMarkAndHandle,
		"between catching and killing a tree": betweenCatchingAndKilling,
	} {
		x := &exchange{cast: c, victim: c.idle()}
		if err := try(x); err != nil {
			fmt.Printf("%s: %v\n", name, err)
			continue
		}
		switch h, err := Open(x.stranger.Identity()); {
		case err != nil:
			fmt.Printf("%s: the stranger was hit: %v\n", name, err)
		default:
			must(errors.Join(h.Kill(), h.Close()))
			<-x.stranger.Done()
		}
	}
	return 0
}

// exchange is a victim, and the stranger that gets its PID.
type exchange struct {
	*cast
	victim, stranger *Child
}

// idle starts a child that does nothing but be there.
func (c *cast) idle() *Child {
	path, err := os.Executable()
	must(err)
	child, err := Start(Command{
		Path: path, Args: []string{"idle"}, Env: append(os.Environ(), roleVariable+"=idle"),
		ExtraFiles: []*os.File{c.rope, c.proof},
	})
	must(err)
	return child
}

// happen ends the victim, and gives its PID to the stranger.
func (x *exchange) happen() {
	want := x.victim.Identity()
	must(unix.Kill(want.PID, unix.SIGKILL))
	<-x.victim.Done()
	waitForTick()
	for x.stranger == nil {
		must(os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(want.PID-1)), 0))
		child := x.idle()
		if child.Identity().PID == want.PID {
			x.stranger = child
			continue
		}
		must(unix.Kill(child.Identity().PID, unix.SIGKILL)) // a thread of ours was faster
		<-child.Done()
	}
	if now, err := Find(want.PID); err != nil || now != x.stranger.Identity() || now == want {
		must(fmt.Errorf("the PID was not recycled: %v, want %v in place of %v (%w)", now, x.stranger.Identity(), want, err))
	}
}

// waitForTick returns when what starts from now on has another start time than what has been started.
func waitForTick() {
	ticks := func() int64 {
		var t unix.Timespec
		must(unix.ClockGettime(unix.CLOCK_BOOTTIME, &t))
		return t.Nano() / (1e9 / ticksPerSecond)
	}
	for before := ticks(); ticks() == before; {
		<-time.After(time.Millisecond)
	}
}

func (x *exchange) isStranger(err error) error {
	var stranger *StrangerError
	if !errors.Is(err, ErrGone) || !errors.As(err, &stranger) || stranger.Found.Identity != x.stranger.Identity() {
		return fmt.Errorf("the stranger was taken for the victim: %w", err)
	}
	return nil
}

// Fails without the comparison in Open.
func storedIdentity(x *exchange) error {
	id := x.victim.Identity()
	x.happen()
	_, err := Open(id)
	if err := x.isStranger(err); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if _, err := Descendants(id); !errors.Is(err, ErrGone) {
		return fmt.Errorf("the victim has descendants: %w", err)
	}
	family := &Family{Head: id, Known: []Identity{id}}
	if members, err := family.Members(); err != nil || len(members) > 0 {
		return fmt.Errorf("the victim's family is %v: %w", members, err)
	}
	return errors.Join(KillTree(ctx, id), KillTree(ctx, id, id), family.Kill(ctx))
}

func storedRecord(x *exchange) error {
	path := filepath.Join(os.Args[1], "rdd.pid")
	must(WriteRecord(path, x.victim.Identity()))
	x.happen()
	id, err := ReadRecord(path)
	must(err)
	_, err = Open(id)
	return x.isStranger(err)
}

// Fails if the signal goes to the PID and not to the pidfd.
func openHandle(x *exchange) error {
	h, err := Open(x.victim.Identity())
	must(err)
	defer h.Close()
	x.happen()
	if h.Alive() {
		return errors.New("the victim is alive")
	}
	for name, act := range map[string]func() error{
		"Kill": h.Kill, "Interrupt": h.Interrupt, "kill": h.native.kill, "halt": h.native.halt,
	} {
		if err := act(); !errors.Is(err, ErrGone) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	return h.Wait(ctx)
}

// Fails without the second look in describe: the description of the stranger would stand for the victim's handle.
func betweenOpeningAndLooking(x *exchange) error {
	n, err := openNative(x.victim.Identity().PID)
	must(err)
	defer n.close()
	x.happen()
	if info, err := n.describe(); !errors.Is(err, ErrGone) {
		return fmt.Errorf("the victim is described as %v: %w", info, err)
	}
	return nil
}

// Fails without the second look in verified.
func betweenListingAndVerifying(x *exchange) error {
	list := lister(func(parent Identity) ([]Identity, error) {
		x.happen()
		return []Identity{x.stranger.Identity()}, nil
	})
	if children, err := list.verified(x.victim.Identity()); !errors.Is(err, ErrGone) {
		return fmt.Errorf("the victim has children %v: %w", children, err)
	}
	return nil
}

// Fails without the second look in verifyMark.
func betweenMarkAndHandle(x *exchange) error {
	const mark = markFloor | 4711
	pid := x.victim.Identity().PID
	must(unix.Prlimit(pid, rlimitLocks, &unix.Rlimit{Cur: mark, Max: unix.RLIM_INFINITY}, nil))
	if id, ok := verifyMark(pid, mark); !ok || id != x.victim.Identity() {
		return errors.New("the victim has no mark")
	}
	x.happen()
	if id, ok := verifyMark(pid, mark); ok {
		return fmt.Errorf("the stranger %v has the victim's mark", id)
	}
	return nil
}

func betweenCatchingAndKilling(x *exchange) error {
	h, err := newHunt(x.victim.Identity())
	must(err)
	defer h.release()
	if !h.catch(x.victim.Identity()) {
		return errors.New("the victim was not caught")
	}
	x.happen()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h.kill(h.order)
	h.await(ctx, slices.Clone(h.order))
	if len(h.caught) > 0 || len(h.failed) > 0 {
		return fmt.Errorf("left: %v, failed: %v", h.caught, h.failed)
	}
	return nil
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
