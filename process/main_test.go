package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"testing"
	"time"
)

// The tests start this test binary again as a child that misbehaves in a given way: its role. Each child holds two pipes,
// and hands them on to what it starts: it ends when the leash breaks because the test has died, and the test knows by the end
// of the witness that of a child and all that came from it nothing is left, whatever the code under test believes.
const (
	roleVariable = "PROCESS_TEST_ROLE"
	leash        = 0 // ExtraFile, to read from
	witness      = 1 // ExtraFile, to write to
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// patient bounds what can only take that long if it hangs.
const patient = time.Minute

// play is the main function of a child.
func play(role string, args []string) int {
	rope, err := ExtraFile(leash)
	must(err)
	proof, err := ExtraFile(witness)
	must(err)
	go func() {
		_, _ = io.Copy(io.Discard, rope)
		os.Exit(99)
	}()
	c := &cast{rope: rope, proof: proof}
	switch role {
	case "exit":
		code, err := strconv.Atoi(args[0])
		must(err)
		return code
	case "suicide":
		must(KillSelf())
		select {}
	case "polite":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, os.Interrupt)
		c.report("ready")
		<-asked
		return 7
	case "early child":
		c.report("early")
	case "deaf":
		signal.Ignore(os.Interrupt)
		c.report("ready")
	case "parent":
		c.startAll(args)
		c.report("ready")
	case "obedient": // starts a child for each line that it is told
		c.report("ready")
		for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
			c.start("session", "idle")
		}
	case "forker": // starts its arguments, and ends before them
		c.startAll(args)
		return 0
	case "walker": // starts itself anew, and ends: for ever, unless somebody is faster
		c.start("session", "walker")
		return 0
	case "breeder": // starts children as fast as it can, for ever
		for range 3 {
			go func() {
				for {
					c.start("session", "idle")
				}
			}()
		}
		c.report("ready")
	case "early head": // has a child that is older than its family
		c.start("session", "early child")
		fallthrough
	case "head":
		container, err := Contain(args[0])
		must(err)
		go func() { must(container.Track(context.Background(), nil)) }()
		c.startAll(args[1:])
		c.report("ready")
	default:
		return playMore(c, role, args)
	}
	return c.wait()
}

// cast is what a child needs for being a parent.
type cast struct{ rope, proof *os.File }

// actor is what a child reports of itself or of one that it has started.
type actor struct {
	How string
	Identity
}

func (c *cast) report(how string) {
	self, err := Self()
	must(err)
	must(json.NewEncoder(os.Stdout).Encode(actor{How: how, Identity: self}))
}

func (c *cast) wait() int {
	select {}
}

// startAll starts an idle child for each of the ways named: "child" of the parent's group, "group", "session", "orphan" (a
// session of its own, and its parent dead), "nest" (of two), "walker".
func (c *cast) startAll(ways []string) {
	for _, way := range ways {
		switch way {
		case "orphan":
			forker := c.start("session", "forker", "child")
			<-forker
		case "walker":
			c.start("session", "walker")
		case "nest":
			c.start("child", "parent", "child")
		default:
			c.start(way, "idle")
		}
	}
}

// start starts a child whose reports go where ours go. The channel it returns is closed when the child has ended.
func (c *cast) start(way, role string, args ...string) <-chan struct{} {
	path, err := os.Executable()
	must(err)
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = sysProcAttr(way)
	done := make(chan struct{})
	if way == "session" {
		child, err := Start(Command{
			Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Stdout: os.Stdout, Stderr: os.Stderr,
			ExtraFiles: []*os.File{c.rope, c.proof},
		})
		must(err)
		return child.Done()
	}
	inherit(cmd, c.rope, c.proof)
	must(cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	return done
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "test child:", err)
		os.Exit(98)
	}
}

// stage is one child of a test, and all that comes from it.
type stage struct {
	*Child
	t       testing.TB
	orders  *os.File // its standard input
	early   Identity // of the early child
	reports *bufio.Scanner
	gone    chan struct{} // closed when nothing is left
}

func perform(t testing.TB, role string, args ...string) *stage {
	t.Helper()
	s, err := tryPerform(t, role, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryPerform(t testing.TB, role string, args ...string) (*stage, error) {
	t.Helper()
	ropeEnd, rope := pipe(t)
	proof, proofEnd := pipe(t)
	reports, out := pipe(t)
	in, orders := pipe(t)
	child, err := Start(Command{
		Path: executable(t), Args: append([]string{role}, args...), Env: append(os.Environ(), roleVariable+"="+role),
		Dir:   t.TempDir(), // or a ledger at a relative path would stay in the package
		Stdin: in, Stdout: out, Stderr: os.Stderr, ExtraFiles: []*os.File{ropeEnd, proofEnd},
	})
	if err != nil {
		return nil, err
	}
	closeAll([]*os.File{ropeEnd, proofEnd, out, in})
	s := &stage{Child: child, t: t, orders: orders, reports: bufio.NewScanner(reports), gone: make(chan struct{})}
	go func() {
		_, _ = io.Copy(io.Discard, proof)
		close(s.gone)
	}()
	t.Cleanup(func() {
		_ = rope.Close()
		s.expectGone()
	})
	return s, nil
}

// expect reads what the children report until n of them have said that they are ready.
func (s *stage) expect(n int) []Identity {
	s.t.Helper()
	var all []Identity
	for len(all) < n && s.reports.Scan() {
		var a actor
		if err := json.Unmarshal(s.reports.Bytes(), &a); err != nil {
			s.t.Fatalf("child reports %q: %v", s.reports.Text(), err)
		}
		if a.How == "early" {
			s.early = a.Identity
		}
		all = append(all, a.Identity)
	}
	if len(all) < n {
		s.t.Fatalf("only %d of %d children are ready", len(all), n)
	}
	return all
}

// expectGone waits until nothing is left that came from this child.
func (s *stage) expectGone() {
	s.t.Helper()
	select {
	case <-s.gone:
	case <-time.After(patient):
		s.t.Error("processes are left")
	}
}

func (s *stage) open() *Handle { return open(s.t, s.Identity()) }

func open(t testing.TB, id Identity) *Handle {
	t.Helper()
	h, err := Open(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func executable(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll([]*os.File{r, w}) })
	return r, w
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	t.Cleanup(cancel)
	return ctx
}

func alive(t *testing.T, id Identity) bool {
	t.Helper()
	now, err := Find(id.PID)
	if err != nil && !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	return err == nil && now == id
}
