package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// waiting holds the flags of a command that awaits something.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func waitFlags(cmd *cobra.Command, timeout time.Duration) *waiting {
	w := &waiting{}
	cmd.Flags().BoolVar(&w.wait, "wait", true, "wait until it is done")
	w.timeout = timeout
	cmd.Flags().Var((*timeLimit)(&w.timeout), "timeout", "how long to wait; 0 means without limit")
	return w
}

// timeLimit is a flag's duration that is not negative.
type timeLimit time.Duration

func (l *timeLimit) String() string { return time.Duration(*l).String() }

// Type is the word in the help.
func (*timeLimit) Type() string { return "duration" }

// Set parses the value of the flag.
func (l *timeLimit) Set(value string) error {
	parsed, err := time.ParseDuration(value)
	if err != nil {
		return err
	}
	if parsed < 0 {
		return errors.New("it must not be negative; 0 means without limit")
	}
	*l = timeLimit(parsed)
	return nil
}

// context ends when the time is up; the clock starts now.
func (w *waiting) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, w.timeout)
}

// goal is what a command waits for.
type goal struct {
	doing string // "starting"
	// reached looks at the VM, nil when it is gone. An error ends the waiting.
	reached func(vm *v1alpha1.LimaVM) (bool, error)
}

// await waits until the VM reaches a goal, and shows meanwhile how far it is.
func (a *app) await(ctx context.Context, api client.WithWatch, vm *v1alpha1.LimaVM, w *waiting, g goal) error {
	waitCtx, cancel := w.context(ctx)
	defer cancel()
	progress := a.newProgress(vm.Name)
	defer progress.stop()
	last, err := follow(waitCtx, api, vm, func(vm *v1alpha1.LimaVM) (bool, error) {
		progress.show(vm)
		return g.reached(vm)
	})
	progress.stop()
	if err == nil || waitCtx.Err() == nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: VM %q goes on %s without you; \"rdd limavm status %s\" shows how far it is", vm.Name, g.doing, vm.Name)
	}
	return fmt.Errorf("VM %q was still %s after %s%s: %w; it goes on, \"rdd limavm status %s\" shows how far it is",
		vm.Name, g.doing, w.timeout, now(last), context.DeadlineExceeded, vm.Name)
}

func now(vm *v1alpha1.LimaVM) string {
	if vm == nil {
		return ""
	}
	stage, _ := stageOf(vm)
	return " (now: " + stage + ")"
}

// follow looks at a VM as it is given, and then at each of its later versions, until look is satisfied. So nothing that
// happens after a request is missed. A watch may end at any time: then the VM is read again.
func follow(ctx context.Context, api client.WithWatch, vm *v1alpha1.LimaVM, look func(*v1alpha1.LimaVM) (bool, error)) (*v1alpha1.LimaVM, error) {
	last := vm
	for current := vm; ; current = nil {
		if current == nil || current.ResourceVersion == "" {
			current = &v1alpha1.LimaVM{}
			err := api.Get(ctx, client.ObjectKeyFromObject(vm), current)
			if apierrors.IsNotFound(err) || err == nil && vm.UID != "" && current.UID != vm.UID {
				_, err := look(nil)
				return nil, err
			}
			if err != nil {
				return last, ctxError(ctx, err)
			}
		}
		last = current
		if done, err := look(current); done || err != nil {
			return current, err
		}
		var list v1alpha1.LimaVMList
		stream, err := api.Watch(ctx, &list, client.InNamespace(vm.Namespace), client.MatchingFields{"metadata.name": vm.Name},
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: current.ResourceVersion}})
		if err != nil {
			return last, ctxError(ctx, err)
		}
		seen, done, err := drain(ctx, stream, look)
		if seen != nil {
			last = seen
		}
		if done || err != nil {
			return last, err
		}
	}
}

// drain reads a watch to its end. The result is nil where it has not seen the VM.
func drain(ctx context.Context, stream watch.Interface, look func(*v1alpha1.LimaVM) (bool, error)) (last *v1alpha1.LimaVM, done bool, err error) {
	defer stream.Stop()
	for {
		select {
		case <-ctx.Done():
			return last, false, ctx.Err()
		case event, open := <-stream.ResultChan():
			if !open || event.Type == watch.Error {
				return last, false, ctx.Err()
			}
			vm, ok := event.Object.(*v1alpha1.LimaVM)
			if !ok {
				continue
			}
			if event.Type == watch.Deleted {
				_, err := look(nil)
				return nil, true, err
			}
			last = vm
			if done, err := look(vm); done || err != nil {
				return last, done, err
			}
		}
	}
}

// ctxError prefers the reason for which a request was given up over how the HTTP client puts it. Who looks at the deadline, as a
// dialer does, gives up before the timer of ctx says so.
func ctxError(ctx context.Context, err error) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
