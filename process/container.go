package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Container is the head's own view of its Family: it keeps the ledger.
type Container struct {
	self   Info
	family Family

	mu      sync.Mutex
	ledger  *ledger
	members map[Identity]member // alive at the last Look
}

type member struct {
	Info
	parent Identity // at first sight
}

// Contain makes the calling process the head of a Family: from now on, whatever it starts, directly or not, through this
// package or through any other, can be found and ended by others that read the ledger at path, also after its own death.
// It works as follows.
//
//   - Linux: the caller becomes a child subreaper, so that it inherits all orphans among its descendants; and it gets a mark
//     that all its descendants are born with (an otherwise meaningless resource limit), by which they are found when it is
//     dead. Where an administrator has limited the number of file locks, there is no mark, and only the ledger.
//   - macOS: the mark is an environment variable of the caller, which its descendants inherit unless they are given other
//     environments. What a system program's environment holds is not shown by macOS: for those there is only the ledger.
//   - Windows: the caller enters a Job Object that kills its processes as soon as the caller is gone, however it ended.
//
// Contain is called once in a process's life, before it starts what shall be contained, and has no undo. It refuses with a
// LeftoverError while members of an earlier family, recorded at the same path, are alive. Families do not nest: a member that
// calls Contain founds a family of its own.
func Contain(path string) (*Container, error) {
	c, err := contain(path)
	if err != nil {
		return nil, fmt.Errorf("cannot contain the processes to be started: %w", err)
	}
	return c, nil
}

// LeftoverError says that members of an earlier family are alive.
type LeftoverError struct{ Members []Identity }

func (e *LeftoverError) Error() string {
	return fmt.Sprintf("an earlier family has left processes behind: %v", e.Members)
}

func contain(path string) (*Container, error) {
	if err := checkLeftovers(path); err != nil {
		return nil, err
	}
	self, err := Describe(os.Getpid())
	if err != nil {
		return nil, err
	}
	token := make([]byte, 16)
	_, _ = rand.Read(token) // never fails
	before, err := descendants(self.Identity)
	if err != nil {
		return nil, err
	}
	h := header{Head: self.Identity, before: before}
	if h.Mark, err = enclose(hex.EncodeToString(token)); err != nil {
		return nil, err
	}
	l, err := createLedger(path, h)
	if err != nil {
		return nil, err
	}
	return &Container{
		self:    self,
		family:  Family{Head: self.Identity, mark: h.Mark, before: h.before},
		ledger:  l,
		members: map[Identity]member{},
	}, nil
}

func checkLeftovers(path string) error {
	earlier, err := ReadFamily(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		return nil // or the path would be unusable for ever
	}
	if err != nil {
		return err
	}
	members, err := earlier.Members()
	if err == nil && len(members) > 0 {
		err = &LeftoverError{Members: members}
	}
	return err
}

// Look finds the living descendants of the head that were started after Contain, and returns when all of them are in the
// ledger. On Linux it costs what the head's own descendants do; on macOS and Windows it looks through the processes of the
// user, or of the machine, too.
func (c *Container) Look() ([]Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find()
	if err != nil {
		return nil, fmt.Errorf("cannot look for descendants: %w", err)
	}
	var added []entry
	alive := make(map[Identity]member, len(found))
	infos := make([]Info, 0, len(found))
	for _, k := range found {
		m, known := c.members[k.Identity]
		if !known {
			m.parent = k.parent
		}
		if !known || m.Name == c.self.Name { // a fork that has not become another program yet may do so
			m.Info = describeIdentity(k.Identity)
		}
		if !known {
			added = append(added, entry{Identity: m.Identity, Name: m.Name})
		}
		alive[m.Identity] = m
		infos = append(infos, m.Info)
	}
	reapAdopted(c.self.PID, func(id Identity) bool { return c.members[id].parent.PID > 0 && c.members[id].parent != c.self.Identity })
	if err := c.ledger.add(added); err != nil {
		return infos, err
	}
	c.members = alive
	if c.ledger.full() {
		_ = c.ledger.rewrite(c.entries()) // or at a later look: it is for tidiness
	}
	return infos, nil
}

// find returns the living descendants of the head.
func (c *Container) find() ([]kin, error) {
	orphans, err := strays(c.family.mark)
	if err != nil {
		return nil, err
	}
	found, err := walk(append([]Identity{c.self.Identity}, orphans...), c.family.admits)
	return slices.DeleteFunc(found, func(k kin) bool { return k.Identity == c.self.Identity }), err
}

// describeIdentity names a process if it lives long enough.
func describeIdentity(id Identity) Info {
	info, err := Describe(id.PID)
	if err != nil || info.Identity != id {
		return Info{Identity: id}
	}
	return info
}

func (c *Container) entries() []entry {
	var all []entry
	for _, m := range c.members {
		all = append(all, entry{Identity: m.Identity, Name: m.Name})
	}
	slices.SortFunc(all, func(a, b entry) int { return a.PID - b.PID })
	return all
}

// Between two looks of Track: soon after something has changed, and later and later while nothing does.
const (
	shortestPause = 50 * time.Millisecond
	longestPause  = 10 * time.Second
)

// Track looks again and again until ctx is done: at once, soon after a child has ended or trigger has sent (which may be
// nil), and of itself after a pause that grows from 50 ms to 10 s while there is nothing new. It returns the first error,
// and may be called again then: what could not be written is written then.
// It makes the ledger complete for those who read it; nobody is lost on Linux and Windows if it is late.
func (c *Container) Track(ctx context.Context, trigger <-chan struct{}) error {
	ended, stop := childEnds()
	defer stop()
	pause, last := shortestPause, 0
	for {
		infos, err := c.Look()
		if err != nil {
			return err
		}
		pause = min(pause*3/2, longestPause)
		if len(infos) != last {
			pause, last = shortestPause, len(infos)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			continue
		case <-ended:
		case <-trigger:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
		pause = shortestPause
		select { // many triggers make one look
		case <-time.After(shortestPause):
		case <-ctx.Done():
			return nil
		}
	}
}
