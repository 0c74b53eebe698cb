package process

import (
	"errors"
	"fmt"
)

// Descendants returns the living children of the process that id names, their children, and so on, parents before children.
// A process whose parent has died is not among them, unless its new parent is (see Contain). It is a look at something that
// moves: a process that starts or ends meanwhile may be missing or gone, but one that never belonged there is not returned.
func Descendants(id Identity) ([]Identity, error) {
	found, err := descendants(id)
	if err != nil {
		return nil, fmt.Errorf("cannot list the descendants of process %v: %w", id, err)
	}
	return found, nil
}

func descendants(root Identity) ([]Identity, error) {
	found, err := walk([]Identity{root}, func(Identity) bool { return true })
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, ErrGone
	}
	return identities(found[1:]), nil
}

// kin is a process, and the one through which it was found; a zero parent means that it was asked for.
type kin struct{ Identity, parent Identity }

// walk finds those of seeds that are alive and their descendants, as far as admits lets it, parents before children.
func walk(seeds []Identity, admits func(Identity) bool) ([]kin, error) {
	list, err := newLister()
	if err != nil {
		return nil, err
	}
	var found, queue []kin
	for _, id := range seeds {
		queue = append(queue, kin{Identity: id})
	}
	for seen := map[Identity]bool{}; len(queue) > 0; queue = queue[1:] {
		next := queue[0]
		if seen[next.Identity] || !admits(next.Identity) {
			continue
		}
		seen[next.Identity] = true
		children, err := list.verified(next.Identity)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, next)
		for _, child := range children {
			queue = append(queue, kin{Identity: child, parent: next.Identity})
		}
	}
	return found, nil
}

func identities(all []kin) []Identity {
	ids := make([]Identity, len(all))
	for i, k := range all {
		ids[i] = k.Identity
	}
	return ids
}

// lister returns the living processes that name the PID of parent as their parent's.
type lister func(parent Identity) ([]Identity, error)

// verified returns the living children of parent. What the system tells of parentage is in terms of PIDs, and it tells it bit
// by bit. Only since parent still wears its PID after its children were listed are they really its children.
func (list lister) verified(parent Identity) ([]Identity, error) {
	children, err := list(parent)
	if err != nil {
		return nil, err
	}
	now, err := Find(parent.PID)
	if err == nil && now != parent {
		err = ErrGone
	}
	if err != nil {
		return nil, err
	}
	return children, nil
}
