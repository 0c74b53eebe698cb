package vmnet

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lima-vm/lima/v2/pkg/networks"

	"github.com/seed-192657fa/rdd/process"
)

// TestMain is socket_vmnet, too: it listens on its last argument until its standard output, a pipe of the test's, is closed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "socket_vmnet" {
		if _, err := net.Listen("unix", os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		leash, err := os.Open(os.Getenv("VMNET_TEST_LEASH"))
		if err == nil {
			_, _ = io.Copy(io.Discard, leash)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestPIDFilesOfNetworksAreNotBelieved: the files name a stranger. It fails with Lima's Reconcile: that takes the network for
// running, and ends the stranger as the other network, which nobody uses.
func TestPIDFilesOfNetworksAreNotBelieved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LIMA_HOME", filepath.Join(dir, "home"))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ran := filepath.Join(dir, "ran")
	script(t, filepath.Join(dir, "sudo"), "shift 5\necho \"$*\" >>"+ran+"\nexec \"$@\"\n")
	daemon := filepath.Join(dir, "socket_vmnet")
	// It ends at its first start, as it may when the machine boots.
	script(t, daemon, "[ -e "+dir+"/again ] || { touch "+dir+"/again; exit 1; }\nexec "+self+" socket_vmnet \"$@\"\n")

	leashEnd, leash, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer leash.Close()
	t.Setenv("VMNET_TEST_LEASH", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), leashEnd.Fd()))

	stranger, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.KillTree(context.Background(), stranger.Identity()); err != nil {
			t.Error(err)
		}
	})
	config := &networks.Config{
		Paths:    networks.Paths{SocketVMNet: daemon, VarRun: filepath.Join(dir, "run")},
		Networks: map[string]networks.Network{"shared": {Mode: networks.ModeShared}, "host": {Mode: networks.ModeHost}},
		Group:    "everyone",
	}
	if err := os.Mkdir(config.Paths.VarRun, 0o755); err != nil {
		t.Fatal(err)
	}
	for name := range config.Networks {
		file := config.PIDFile(name, networks.SocketVMNet)
		if err := os.WriteFile(file, []byte(strconv.Itoa(stranger.Identity().PID)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // the second time it runs
		if err := ensure(ctx, config, "shared"); err != nil {
			t.Fatal(err)
		}
	}
	if !Answers(config.Sock("shared")) || Answers(config.Sock("host")) {
		t.Error("another network was started than the one that was wanted")
	}
	text, err := os.ReadFile(ran)
	if err != nil {
		t.Fatal(err)
	}
	commands := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(commands) != 3 || !strings.HasPrefix(commands[0], "/bin/mkdir") || commands[1] != commands[2] {
		t.Errorf("as root were run:\n%s", text)
	}
	select {
	case <-stranger.Done():
		t.Errorf("the stranger is dead: %s", stranger.ExitStatus())
	default:
	}
}
