package process

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"testing"
	"time"
)

func TestSelf(t *testing.T) {
	first, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Describe(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if first != again.Identity || first.PID != os.Getpid() || first.StartTime == 0 {
		t.Errorf("identities of one process differ: %v and %v", first, again)
	}
	if again.Name == "" || again.Started.After(time.Now()) || time.Since(again.Started) > 24*time.Hour {
		t.Errorf("the description is wrong: %v since %v", again, again.Started)
	}
}

func TestOfEarlierBoot(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	other := self
	other.BootID, other.StartTime = other.BootID+"x", 1 // Windows goes by the second, the others by the first
	for id, want := range map[Identity]bool{{}: false, self: false, other: true} {
		if earlier, err := id.OfEarlierBoot(); err != nil || earlier != want {
			t.Errorf("%+v is said to be of an earlier boot: %v (%v)", id, earlier, err)
		}
	}
}

func TestKillSelf(t *testing.T) {
	child := perform(t, "suicide")
	<-child.Done()
	if child.ExitCode() == 0 || child.ExitCode() == 99 {
		t.Errorf("it did not end by itself: %s", child.ExitStatus())
	}
}

func TestFindRefusesWhatIsNoPID(t *testing.T) {
	for _, pid := range []int{0, -1, math.MinInt32, math.MaxInt32} {
		if id, err := Find(pid); !errors.Is(err, ErrGone) {
			t.Errorf("PID %d is said to belong to %v (%v)", pid, id, err)
		}
	}
	if _, err := Open(Identity{}); !errors.Is(err, ErrGone) {
		t.Errorf("the zero identity can be opened: %v", err)
	}
}

func TestIdentityText(t *testing.T) {
	id := Identity{PID: 4711, StartTime: math.MaxUint64, BootID: "b"}
	if got := id.String(); got != "4711@18446744073709551615" {
		t.Errorf("String() = %q", got)
	}
	if got := (Identity{}).String(); got != "none" {
		t.Errorf("String() of none = %q", got)
	}
	text, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	var back Identity
	if err := json.Unmarshal(text, &back); err != nil || back != id {
		t.Errorf("%s comes back as %+v (%v)", text, back, err)
	}
}
