package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// part is one thing that a daemon consists of.
type part struct {
	name string
	// start returns when the part is ready. The failure of a part that has started arrives on failed, which may be nil.
	start func(ctx context.Context) (failed <-chan error, err error)
	// stop is called only after a successful start, with a context of its own that ends after deadline.
	stop     func(ctx context.Context, why reason) error
	deadline func() time.Duration
}

// reason tells a part why it is stopped.
type reason int

const (
	// asked: somebody asked the daemon to end.
	asked reason = iota
	// handover: somebody asked the daemon to end, and to leave its VMs to the next one.
	handover
	// broken: a part failed, or did not start. VMs are left alone, for the next daemon to adopt.
	broken
)

// hooks are what runs between the parts.
type hooks struct {
	// ready is called when all parts have started.
	ready func() error
	// why tells which kind of end somebody asked for: asked or handover.
	why func() reason
	// ending is called before the first part is stopped.
	ending func(why reason) error
}

// runParts starts the parts in order, waits until ctx is done or a part fails, and stops the parts in reverse. The error is
// nil only if all went well and ctx asked for the end.
func runParts(ctx context.Context, log *slog.Logger, parts []part, h hooks) error {
	failures := make(chan error, len(parts))
	running, over := context.WithCancel(context.Background())
	defer over()
	started := 0
	err := func() error {
		for i := range parts {
			begun := time.Now()
			failed, err := parts[i].start(ctx)
			if err != nil {
				return err // each says by itself what could not be started
			}
			started++
			log.Debug("part started", "part", parts[i].name, "took", time.Since(begun).Round(time.Millisecond))
			if failed != nil {
				go forward(running, parts[i].name, failed, failures)
			}
		}
		return h.ready()
	}()
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failures:
		}
	} else if ctx.Err() != nil {
		err = nil // it was asked to end while it started: what that broke is no failure
	}
	why := broken
	if err == nil {
		why = h.why()
	}
	over()
	errs := []error{err, h.ending(why)}
	for i := started - 1; i >= 0; i-- {
		errs = append(errs, stopPart(log, parts[i], why))
	}
	return errors.Join(errs...)
}

func forward(running context.Context, name string, failed <-chan error, failures chan<- error) {
	select {
	case err := <-failed:
		if err == nil {
			err = errors.New("it ended without having been asked to")
		}
		failures <- fmt.Errorf("%s failed: %w", name, err)
	case <-running.Done():
	}
}

// stopPart gives a part its deadline, and goes on without it when it does not even notice that.
func stopPart(log *slog.Logger, p part, why reason) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.deadline())
	defer cancel()
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- p.stop(ctx, why) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(time.Second):
			err = ctx.Err()
		}
	}
	log.Debug("part stopped", "part", p.name, "took", time.Since(begun).Round(time.Millisecond))
	if err != nil {
		return fmt.Errorf("cannot stop %s: %w", p.name, err)
	}
	return nil
}

// within is a fixed deadline.
func within(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
