package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Command says what Start shall run.
type Command struct {
	Path string   // of the program; it is not searched for
	Args []string // Args[0] is the program's own name; nil means just Path
	Env  []string // KEY=value, of which the last of a key counts; nil means that of the caller
	Dir  string   // working directory; empty means that of the caller
	// Stdin, Stdout and Stderr are the child's; nil means the null device. The caller's are never inherited.
	Stdin, Stdout, Stderr *os.File
	// ExtraFiles are inherited too. The child gets at them with ExtraFile; on Unix, ExtraFiles[i] is descriptor 3+i.
	ExtraFiles []*os.File
	// WithThread has the child killed as soon as the thread that started it ends, as all do when the caller dies: for helpers
	// of a moment, which nobody would look for. The caller holds the thread by runtime.LockOSThread. Linux only.
	WithThread bool
}

// Child is a process that this process has started. It is reaped as soon as it ends.
type Child struct {
	id    Identity
	held  bool
	done  chan struct{}
	state *os.ProcessState // valid after done
	err   error
}

// Start runs cmd in a session and a process group of its own, without a controlling terminal. The child's life is bound to
// nothing, unless WithThread says so: neither to a context nor to its parent's life. The caller may close its files as soon as Start returns.
func Start(cmd Command) (*Child, error) {
	proc, err := start(cmd)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", cmd.Path, err)
	}
	// Nobody has reaped the child yet, so that its PID is still its own, even if it has ended already.
	id, err := identifyChild(proc)
	if err != nil {
		err = errors.Join(fmt.Errorf("cannot identify the new process %s: %w", cmd.Path, err), proc.Kill())
		_, _ = proc.Wait()
		return nil, err
	}
	c := &Child{id: id, held: held(proc), done: make(chan struct{})}
	go c.reap(proc)
	return c, nil
}

func (c *Child) reap(proc *os.Process) {
	// Waiting on a handle costs no thread on Linux, and os.Process.Wait does, until the child has ended.
	if n, err := openNative(c.id.PID); err == nil {
		_ = n.wait()
		_ = n.close()
	}
	c.state, c.err = proc.Wait()
	close(c.done)
}

// Identity returns the identity of the child, also after its end.
func (c *Child) Identity() Identity { return c.id }

// Held tells whether the child has to stay in a Job Object that the caller is in, and ends with it if it is made so. Start
// takes its children out of the caller's jobs where these allow it. It is always false on Unix, and true for members of a
// Family on Windows.
func (c *Child) Held() bool { return c.held }

// Done is closed when the child has ended and has been reaped.
func (c *Child) Done() <-chan struct{} { return c.done }

// ExitStatus tells how the child ended: "exit status 1", "signal: killed". It is empty before Done is closed.
func (c *Child) ExitStatus() string {
	switch {
	case !c.ended():
		return ""
	case c.err != nil:
		return "unknown: " + c.err.Error()
	default:
		return c.state.String()
	}
}

// ExitCode returns the child's exit code, or -1 if it has not ended, was ended by a signal, or nobody knows.
func (c *Child) ExitCode() int {
	if !c.ended() || c.err != nil {
		return -1
	}
	return c.state.ExitCode()
}

func (c *Child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stdio returns cmd's three standard files; those that are missing are the null device, and opened holds them to be closed.
func stdio(cmd Command) (files, opened []*os.File, err error) {
	files = []*os.File{cmd.Stdin, cmd.Stdout, cmd.Stderr}
	for i, f := range files {
		if f != nil {
			continue
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			closeAll(opened)
			return nil, nil, err
		}
		files[i], opened = null, append(opened, null)
	}
	return files, opened, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// environment settles cmd.Env as os/exec does.
func environment(cmd Command) []string {
	return (&exec.Cmd{Env: cmd.Env, Dir: cmd.Dir}).Environ()
}

func argv(cmd Command) []string {
	if len(cmd.Args) == 0 {
		return []string{cmd.Path}
	}
	return cmd.Args
}
