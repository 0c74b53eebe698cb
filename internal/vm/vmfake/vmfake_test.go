package vmfake_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-192657fa/rdd/internal/vm"
	"github.com/seed-192657fa/rdd/internal/vm/vmfake"
	"github.com/seed-192657fa/rdd/internal/vm/vmtest"
)

func TestConformance(t *testing.T) {
	vmtest.Run(t, func(t *testing.T, notify func(string)) vmtest.Harness {
		machine := vmfake.NewMachine()
		bad := []byte("bad")
		machine.Behave(func(_ context.Context, call vmfake.Call) error {
			if bytes.Equal(call.Spec.Template, bad) {
				return errors.New("the template is bad")
			}
			return nil
		})
		reopen := func(_ *testing.T, notify func(string)) vm.Driver {
			return vmfake.New(vmfake.Config{Machine: machine, Notify: notify, Watched: 5})
		}
		return vmtest.Harness{
			Driver: reopen(t, notify),
			Good:   []byte("good"),
			Other:  []byte("other"),
			Bad:    bad,
			Reopen: reopen,
			Crash: func(t *testing.T, name string) {
				if !machine.Crash(name) {
					t.Fatalf("%s has no agent", name)
				}
			},
			PlantForeign: func(t *testing.T, name string) func(bool) {
				machine.PlantForeign(name)
				return func(aside bool) {
					if foreign, _ := machine.Exists(name); foreign == aside || machine.MovedAside(name) != aside {
						t.Errorf("what is foreign is there: %t", foreign)
					}
				}
			},
			Patience: 20 * time.Second,
			Grace:    20 * time.Second,
		}
	})
}

func TestDeleteCallsCreateOff(t *testing.T) {
	machine := vmfake.NewMachine()
	calledOff := make(chan struct{})
	machine.Behave(func(ctx context.Context, call vmfake.Call) error {
		if call.Operation == vm.OpCreate {
			<-ctx.Done()
			close(calledOff)
		}
		return nil
	})
	changed := make(chan struct{}, 100)
	driver := vmfake.New(vmfake.Config{Machine: machine, Notify: func(string) { changed <- struct{}{} }})
	if err := driver.Create("one", vm.Spec{Owner: "o"}); err != nil {
		t.Fatal(err)
	}
	if got := driver.Observe("one"); got.State != vm.Creating || got.Owner != "o" {
		t.Fatalf("got %s of owner %q", got.State, got.Owner)
	}
	if err := driver.Delete("one"); err != nil {
		t.Fatal(err)
	}
	<-calledOff
	for driver.Observe("one").State != vm.Absent {
		<-changed
	}
}
