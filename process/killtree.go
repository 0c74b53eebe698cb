package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// KillTree ends the process that root names, its descendants, and those of known that are still alive with theirs, whatever
// sessions and groups they are in. Each one is verified before it is touched; who is gone already, or has lost its PID to
// another process, is passed over.
//
// Nobody escapes by forking in the meantime. On Unix, the processes are stopped before their children are listed, and the root
// goes last, so that it inherits the orphans if it is a container (see Contain). On Windows they are ended before their
// children are listed, which the open handles allow.
//
// It returns nil when all of them are gone. When ctx is done first, all that were found have been killed, but not all have
// ended yet. If the caller is killed in the middle of it, processes are left that are stopped, for the next one to end. The
// caller is spared, even if it is one of them, so that KillTree of oneself ends all that one has started.
func KillTree(ctx context.Context, root Identity, known ...Identity) error {
	h, err := newHunt(root)
	if err != nil {
		return err
	}
	h.seeds = func() ([]Identity, error) { return known, nil }
	if err := h.run(ctx); err != nil {
		return fmt.Errorf("cannot end the process tree of %v: %w", root, err)
	}
	return nil
}

// hunt is one KillTree under way.
type hunt struct {
	root, self Identity
	seeds      func() ([]Identity, error) // further processes to end, with their descendants
	admits     func(Identity) bool        // whom it is about
	newLister  func() (lister, error)     // a look at all processes
	caught     map[Identity]*Handle       // nil for self
	order      []Identity                 // those of caught, parents before children
	failed     map[Identity]error         // those that we may not touch
	missed     map[Identity]bool          // those that were gone when they were to be caught
}

func newHunt(root Identity) (*hunt, error) {
	self, err := Self()
	if err != nil {
		return nil, err
	}
	return &hunt{
		root:      root,
		self:      self,
		admits:    func(Identity) bool { return true },
		newLister: newLister,
		caught:    map[Identity]*Handle{},
		failed:    map[Identity]error{},
		missed:    map[Identity]bool{},
	}, nil
}

func (h *hunt) run(ctx context.Context) error {
	defer h.release()
	var errs []error
	for tries := 1; ; {
		err := h.gather(ctx)
		if err != nil && tries < gatherTries && ctx.Err() == nil {
			tries++ // nobody is lost as long as nobody is killed
			<-time.After(gatherPause)
			continue
		}
		errs = append(errs, err) // children of those that are killed now may stay unknown, whatever the next round sees
		below := slices.DeleteFunc(slices.Clone(h.order), func(id Identity) bool { return id == h.root || id == h.self })
		if len(below) == 0 || ctx.Err() != nil {
			break
		}
		h.kill(below)
		h.await(ctx, below)
	}
	h.kill(h.order)
	h.await(ctx, slices.Clone(h.order))
	for id := range h.caught {
		if id != h.self {
			errs = append(errs, fmt.Errorf("process %v is still there: %w", id, context.Cause(ctx)))
		}
	}
	for _, err := range h.failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// patience bounds the wait for processes to have really halted, which takes moments unless the machine is overloaded: one
// that hangs in the kernel halts only afterwards, but neither does it fork.
const patience = 10 * time.Second

// A look may fail for a moment, as from a lack of descriptors. It is tried again so often before those that were found are killed.
const (
	gatherTries = 10
	gatherPause = 50 * time.Millisecond
)

// gather catches the root, the seeds and all their descendants, until a look at all of them, halted, brings no news.
func (h *hunt) gather(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		still, before := h.halted(), len(h.caught)
		news, err := h.look()
		if grown := len(h.caught) > before; err != nil || !grown && (ctx.Err() != nil || still && !news) {
			return err
		}
		if !news {
			<-time.After(time.Millisecond)
		}
	}
}

// look catches those that it sees, and tells whether that brought news.
func (h *hunt) look() (news bool, err error) {
	seeds, err := h.seeds()
	if err != nil {
		return false, err
	}
	for _, id := range append([]Identity{h.root}, seeds...) {
		news = h.catch(id) || news
	}
	list, err := h.newLister()
	if err != nil {
		return news, err
	}
	for i := 0; i < len(h.order); i++ {
		children, err := h.children(list, h.order[i])
		if err != nil && !errors.Is(err, ErrGone) {
			return news, err
		}
		for _, child := range children {
			news = h.catch(child) || news
		}
	}
	return news, nil
}

func (h *hunt) children(list lister, parent Identity) ([]Identity, error) {
	if handle := h.caught[parent]; handle != nil && handle.native.pinned() {
		return list(parent)
	}
	return list.verified(parent)
}

// catch opens and halts the process that id names. It tells whether that is news: a new one, or one that has gone before it
// could be caught, and may have left children that were not there to be seen.
func (h *hunt) catch(id Identity) bool {
	if _, known := h.caught[id]; known || h.failed[id] != nil || h.missed[id] || !h.admits(id) {
		return false
	}
	if id == h.self {
		h.caught[id], h.order = nil, append(h.order, id)
		return true
	}
	handle, err := Open(id)
	if err == nil {
		if err = handle.act("stop", handle.native.halt); err == nil {
			h.caught[id], h.order = handle, append(h.order, id)
			return true
		}
		_ = handle.Close()
	}
	if errors.Is(err, ErrGone) {
		h.missed[id] = true
		return true
	}
	h.failed[id] = err
	return false
}

func (h *hunt) halted() bool {
	for _, handle := range h.caught {
		if handle != nil && !handle.native.halted() {
			return false
		}
	}
	return true
}

func (h *hunt) kill(ids []Identity) {
	for _, id := range ids {
		if handle := h.caught[id]; handle != nil {
			if err := handle.Kill(); err != nil && !errors.Is(err, ErrGone) {
				h.failed[id] = err
			}
		}
	}
}

// await waits for the end of ids, and lets go of those that have ended or cannot be ended.
func (h *hunt) await(ctx context.Context, ids []Identity) {
	for _, id := range ids {
		handle := h.caught[id]
		if handle == nil {
			continue
		}
		if h.failed[id] == nil && handle.Wait(ctx) != nil {
			continue
		}
		_ = handle.Close()
		delete(h.caught, id)
		h.order = slices.DeleteFunc(h.order, func(o Identity) bool { return o == id })
	}
}

func (h *hunt) release() {
	for _, handle := range h.caught {
		if handle != nil {
			_ = handle.Close()
		}
	}
}
