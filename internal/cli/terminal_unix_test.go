//go:build unix

package cli

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/seed-192657fa/rdd/internal/vm"
)

func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// onTerminal starts a command on a terminal of its own; typed goes there.
func (p *plane) onTerminal(cmd *exec.Cmd) (shown *output, typed *os.File) {
	p.Helper()
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 120})
	p.must(err)
	p.Cleanup(func() { terminal.Close() })
	shown = newOutput()
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := terminal.Read(buffer)
			_, _ = shown.Write(buffer[:n])
			if err != nil { // its end
				return
			}
		}
	}()
	return shown, terminal
}

func TestProgressAndInterruptOnATerminal(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	release := p.hang(vm.OpStart)
	defer release()
	for name, env := range map[string][]string{"plain": nil, "NO_COLOR": {"NO_COLOR=1"}} {
		t.Run(name, func(t *testing.T) {
			p := p.sub(t)
			cmd := p.program(env, "vm", "start", "dev")
			shown, typed := p.onTerminal(cmd)
			shown.await(t, `\r.*dev: Starting`)
			_, err := typed.WriteString("\x03") // what Ctrl-C sends
			p.must(err)
			_ = cmd.Wait()
			shown.await(t, `Error: interrupted: VM "dev" goes on starting without you`)
			if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			if colour := regexp.MustCompile(`\x1b\[[0-9;]*m`).FindString(shown.String()); colour != "" && env != nil {
				t.Errorf("NO_COLOR is set, and it prints %q", colour)
			}
		})
	}
	if !p.vm("dev").Spec.Running {
		t.Error("the interrupt undid the start")
	}
}

func TestQuietOnATerminal(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	cmd := p.program(nil, "--quiet", "vm", "start", "dev")
	shown, _ := p.onTerminal(cmd)
	p.must(cmd.Wait())
	shown.await(t, `^VM "dev" is running; [^\n]*\n$`)
}

func TestResetAsksOnATerminal(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	for answer, want := range map[string]int{"n\n": 0, "\n": 0, "y\n": 1} {
		cmd := p.program(nil, "vm", "reset", "dev")
		shown, typed := p.onTerminal(cmd)
		shown.await(t, `All data in VM "dev" will be lost. Reset it\? \[y/N\] $`)
		before := p.machine.Count(vm.OpDelete, "dev")
		_, err := typed.WriteString(answer)
		p.must(err)
		_ = cmd.Wait()
		if got := p.machine.Count(vm.OpDelete, "dev") - before; got != want {
			t.Errorf("after %q it was deleted %d times, want %d:\n%s", answer, got, want, shown)
		}
	}
}

// TestCompletionInBash has a real bash source the script, and complete a command line with it.
func TestCompletionInBash(t *testing.T) {
	p := newPlane(t)
	p.wantIn(goodTemplate, 0, "is created", "vm", "create", "dev", "-")
	self, err := os.Executable()
	p.must(err)
	bin := filepath.Join(p.home, "bin")
	p.must(os.Mkdir(bin, 0o700))
	p.must(os.Symlink(self, filepath.Join(bin, "rdd")))
	// What the package bash-completion would do, reduced to what the script asks of it.
	script := `_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${COMP_WORDS[COMP_CWORD]}; prev=${COMP_WORDS[COMP_CWORD-1]}; }
__ltrim_colon_completions() { :; }
compopt() { :; }
source <(rdd completion bash)
COMP_WORDS=(rdd limavm start d); COMP_CWORD=3; COMP_LINE='rdd limavm start d'; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
__start_rdd
printf '%s\n' "${COMPREPLY[@]}"`
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Env = []string{roleVariable + "=rdd", "HOME=" + p.home, "PATH=" + bin + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "dev" {
		t.Errorf("%v: %q", err, out)
	}
}
