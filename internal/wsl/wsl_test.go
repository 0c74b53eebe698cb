package wsl_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/wsl"
	"github.com/seed-192657fa/rdd/internal/wsl/wsltest"
)

func TestMain(m *testing.M) {
	if code, played := wsltest.Play(); played {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// find is a CLI whose deadline no healthy call comes near.
func find(t *testing.T, fake *wsltest.Fake, timeout time.Duration) wsl.CLI {
	t.Helper()
	cli, err := wsl.Find([]string{"Path=" + filepath.Join(fake.Dir(), "empty") + string(filepath.ListSeparator) + fake.Dir()}, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return cli
}

func TestMissing(t *testing.T) {
	if _, err := wsl.Find([]string{"PATH=" + t.TempDir()}, 0); !errors.Is(err, wsl.ErrMissing) || !strings.Contains(err.Error(), "--install") {
		t.Errorf("%v", err)
	}
}

func TestList(t *testing.T) {
	for _, behaviour := range []string{"", wsltest.UTF8, wsltest.Old} {
		fake := wsltest.New(t)
		fake.Script("--list", behaviour)
		cli := find(t, fake, time.Minute)
		if got, err := cli.List(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("%q, none registered: %q, %v", behaviour, got, err)
		}
		fake.Register("lima-dev_rdd2")
		fake.Register("Ubuntu-24.04")
		if got, err := cli.List(t.Context()); err != nil || !slices.Equal(got, []string{"Ubuntu-24.04", "lima-dev_rdd2"}) {
			t.Errorf("%q: %q, %v", behaviour, got, err)
		}
		for name, want := range map[string]bool{"ubuntu-24.04": true, "Ubuntu": false, "lima-dev_rdd2": true} {
			if got, err := cli.Has(t.Context(), name); err != nil || got != want {
				t.Errorf("%q, has %s: %v, %v", behaviour, name, got, err)
			}
		}
	}
}

func TestTerminate(t *testing.T) {
	fake := wsltest.New(t)
	fake.Register("mine")
	fake.Register("theirs")
	if err := find(t, fake, time.Minute).Terminate(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	if fake.State("mine") != "Stopped" || fake.State("theirs") != "Running" {
		t.Errorf("mine is %s, theirs %s", fake.State("mine"), fake.State("theirs"))
	}
}

// TestUnregisterTerminatesFirst keeps an order that the real service deadlocks without.
func TestUnregisterTerminatesFirst(t *testing.T) {
	fake := wsltest.New(t)
	fake.Register("mine")
	fake.Register("theirs")
	if err := find(t, fake, time.Minute).Unregister(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"--list", "--terminate:mine", "--unregister:mine"}; !slices.Equal(fake.Calls(), want) {
		t.Errorf("called %q, want %q", fake.Calls(), want)
	}
	if fake.State("mine") != "" || fake.State("theirs") != "Running" {
		t.Errorf("mine is %q, theirs %s", fake.State("mine"), fake.State("theirs"))
	}
}

func TestNothingToEnd(t *testing.T) {
	fake := wsltest.New(t)
	cli := find(t, fake, time.Minute)
	if err := errors.Join(cli.Terminate(t.Context(), "gone"), cli.Unregister(t.Context(), "gone")); err != nil {
		t.Error(err)
	}
	if want := []string{"--list", "--list"}; !slices.Equal(fake.Calls(), want) {
		t.Errorf("called %q", fake.Calls())
	}
}

// TestUnregisterKeepsWhatCannotBeEnded does not take the disk away from under a distribution that goes on.
func TestUnregisterKeepsWhatCannotBeEnded(t *testing.T) {
	fake := wsltest.New(t)
	fake.Register("mine")
	fake.Script("--terminate", wsltest.Fail)
	err := find(t, fake, time.Minute).Unregister(t.Context(), "mine")
	if err == nil || fake.State("mine") != "Running" {
		t.Errorf("%v; it is %q", err, fake.State("mine"))
	}
}

// TestHanging has each call hang, in a program that has started another one.
func TestHanging(t *testing.T) {
	for _, verb := range []string{"--list", "--terminate", "--unregister"} {
		fake := wsltest.New(t)
		fake.Register("mine")
		fake.Script(verb, wsltest.Hang)
		err := find(t, fake, 2*time.Second).Unregister(t.Context(), "mine")
		if !errors.Is(err, wsl.ErrNoAnswer) || !strings.Contains(err.Error(), "wsl --shutdown") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", verb, err)
		}
		if left := fake.Living(); len(left) != 0 {
			t.Errorf("%s: left behind: %v", verb, left)
		}
	}
}

func TestCalledOff(t *testing.T) {
	fake := wsltest.New(t)
	fake.Script("--list", wsltest.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := find(t, fake, time.Minute).List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left := fake.Living(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFailures(t *testing.T) {
	for behaviour, want := range map[string]string{
		wsltest.Fail:   "Katastrophaler Fehler Fehlercode: Wsl/Service/E_UNEXPECTED",
		wsltest.Silent: "wsl --status",
	} {
		fake := wsltest.New(t)
		fake.Script("--list", behaviour)
		if _, err := find(t, fake, time.Minute).List(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", behaviour, err)
		}
	}
}

// TestGarbageIsNoList does not take nonsense for the news that nothing is registered.
func TestGarbageIsNoList(t *testing.T) {
	fake := wsltest.New(t)
	fake.Register("mine")
	fake.Script("--list", wsltest.Garbage)
	if err := find(t, fake, time.Minute).Unregister(t.Context(), "mine"); err == nil || !strings.Contains(err.Error(), "no list") {
		t.Errorf("%v", err)
	}
}
