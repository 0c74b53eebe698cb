package process

import (
	"context"
	"fmt"
	"slices"
)

// Family is a process that has called Contain, the head, and all processes that descend from it, in whatever sessions and
// groups, and however many parents between have died. It outlives its head. What the head started before it called Contain
// does not belong to it.
type Family struct {
	// Head may be gone.
	Head Identity
	// Known are the members that the head has recorded; most of them are gone.
	Known []Identity

	mark   string
	before []Identity // descendants of the head that are no members: they were there before Contain
}

// ReadFamily reads the ledger that a head has kept at path. The error matches fs.ErrNotExist if there is none, and ErrDamaged
// if it is damaged or of another version. Then the family is what could be learnt all the same, or nil. It may be ended once
// its head is gone: while the head lives, its members cannot be told from what was there before.
func ReadFamily(path string) (*Family, error) {
	h, known, err := readLedger(path)
	if h.Head.IsZero() {
		return nil, err
	}
	return &Family{Head: h.Head, Known: known, mark: h.Mark, before: h.before}, err
}

// Members returns all members that are alive, the head first if it is one of them.
func (f *Family) Members() ([]Identity, error) {
	found, err := marked(f.mark)
	if err == nil {
		var members []kin
		members, err = walk(slices.Concat([]Identity{f.Head}, f.Known, found), f.admits)
		if err == nil {
			return identities(members), nil
		}
	}
	return nil, fmt.Errorf("cannot list the family of process %v: %w", f.Head, err)
}

// admits tells the head and those that were born after Contain from those that were born before. It goes by identity: to
// compare start times with the time of Contain would be to trust a clock that may be set back, and to err within a tick.
func (f *Family) admits(id Identity) bool {
	return id.BootID == f.Head.BootID && !slices.Contains(f.before, id)
}

// Kill ends all members as KillTree does, the head last.
func (f *Family) Kill(ctx context.Context) error {
	h, err := newHunt(f.Head)
	if err != nil {
		return err
	}
	h.admits = f.admits
	h.seeds = func() ([]Identity, error) {
		found, err := marked(f.mark)
		return append(found, f.Known...), err
	}
	if err := h.run(ctx); err != nil {
		return fmt.Errorf("cannot end the family of process %v: %w", f.Head, err)
	}
	return nil
}
