// Package registration owns the ConfigMap in which those who run controllers announce themselves: which process runs the
// controllers of which group, and where it tells of its health. The control plane makes it anew at each start; a group's
// place in it belongs to one living process at a time.
package registration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"github.com/seed-192657fa/rdd/process"
)

// Where the registry is, and what else it says.
const (
	Namespace = "rdd-system"
	Name      = "rdd-controller-manager"

	// AnnotationReady is "true" once all resource definitions are established and all controllers registered that the
	// control plane was told to run.
	AnnotationReady = "rdd.rancherdesktop.io/ready"
	// AnnotationStopping is "true" when the control plane is about to end for good: who runs VMs is to shut them down, and
	// then to leave its place.
	AnnotationStopping = "rdd.rancherdesktop.io/stopping"
)

// Entry is what a process that runs the controllers of a group tells about itself.
type Entry struct {
	// HealthPort and MetricsPort are on the loopback interface.
	HealthPort         int       `json:"healthPort"`
	MetricsPort        int       `json:"metricsPort"`
	EnabledControllers []string  `json:"enabledControllers"`
	StartTime          time.Time `json:"startTime"`
	// HealthEndpoint and MetricsEndpoint are whole URLs.
	HealthEndpoint  string `json:"healthEndpoint"`
	MetricsEndpoint string `json:"metricsEndpoint"`
	// Process has the place for as long as it lives.
	Process process.Identity `json:"process"`
}

// State is what the registry says at one moment.
type State struct {
	// Entries by group. What cannot be read is left out.
	Entries map[string]Entry
	// Ready and Stopping are the annotations.
	Ready, Stopping bool
}

// TakenError says that a living process has the place of a group.
type TakenError struct {
	Group  string
	Holder Entry
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("the controllers of group %q already run, in the process with PID %d since %s",
		e.Group, e.Holder.Process.PID, e.Holder.StartTime.Local().Format(time.DateTime))
}

// Registry reads and writes the ConfigMap.
type Registry struct {
	maps corev1client.ConfigMapInterface
}

// New returns the registry of the control plane that config leads to.
func New(config *rest.Config) (*Registry, error) {
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the registry of controllers: %w", err)
	}
	return &Registry{maps: core.ConfigMaps(Namespace)}, nil
}

// Reset makes the registry anew. It is for the control plane, as it starts: nobody is registered with it yet.
func (r *Registry) Reset(ctx context.Context) error {
	object, err := registryOf(State{})
	if err == nil {
		_, err = r.maps.Create(ctx, object, metav1.CreateOptions{})
	}
	if apierrors.IsAlreadyExists(err) {
		_, err = r.maps.Update(ctx, object, metav1.UpdateOptions{}) // whatever is there
	}
	if err != nil {
		return fmt.Errorf("cannot make the registry of controllers: %w", err)
	}
	return nil
}

// Restore makes the registry say what it said, if somebody has deleted it.
func (r *Registry) Restore(ctx context.Context, state State) error {
	object, err := registryOf(state)
	if err == nil {
		_, err = r.maps.Create(ctx, object, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot restore the registry of controllers: %w", err)
	}
	return nil
}

// registryOf is the object that says what state does.
func registryOf(state State) (*corev1.ConfigMap, error) {
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: Namespace, Annotations: map[string]string{
			"kubernetes.io/description": "Who runs the controllers of which group. The control plane makes it anew at each start.",
		}},
		Data: map[string]string{},
	}
	annotate(object, AnnotationReady, state.Ready)
	annotate(object, AnnotationStopping, state.Stopping)
	for group, entry := range state.Entries {
		if err := put(object, group, entry); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// Register takes the place of a group. It returns a *TakenError where another living process has it. The same process may
// register again.
func (r *Registry) Register(ctx context.Context, group string, entry Entry) error {
	return r.register(ctx, group, entry, false)
}

// RegisterOwn is for the control plane: it takes the place of a group that it runs itself, and marks all as ready, at once.
func (r *Registry) RegisterOwn(ctx context.Context, group string, entry Entry) error {
	return r.register(ctx, group, entry, true)
}

func (r *Registry) register(ctx context.Context, group string, entry Entry, ready bool) error {
	err := r.edit(ctx, func(object *corev1.ConfigMap) (bool, error) {
		if holder, ok := parse(object.Data[group]); ok && holder.Process != entry.Process && alive(holder.Process) {
			return false, &TakenError{Group: group, Holder: holder}
		}
		annotate(object, AnnotationReady, ready)
		return true, put(object, group, entry)
	})
	var taken *TakenError
	if err == nil || errors.As(err, &taken) {
		return err
	}
	return fmt.Errorf("cannot register the controllers of group %q: %w", group, err)
}

// Unregister gives the place of a group back, if the process has it.
func (r *Registry) Unregister(ctx context.Context, group string, who process.Identity) error {
	err := r.edit(ctx, func(object *corev1.ConfigMap) (bool, error) {
		if holder, ok := parse(object.Data[group]); !ok || holder.Process != who {
			return false, nil
		}
		delete(object.Data, group)
		return true, nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot unregister the controllers of group %q: %w", group, err)
	}
	return nil
}

// MarkReady and MarkStopping are for the control plane.
func (r *Registry) MarkReady(ctx context.Context) error { return r.mark(ctx, AnnotationReady) }

// MarkStopping asks those outside the daemon to shut their VMs down and to leave.
func (r *Registry) MarkStopping(ctx context.Context) error { return r.mark(ctx, AnnotationStopping) }

func (r *Registry) mark(ctx context.Context, annotation string) error {
	err := r.edit(ctx, func(object *corev1.ConfigMap) (bool, error) {
		changed := object.Annotations[annotation] != "true"
		annotate(object, annotation, true)
		return changed, nil
	})
	if err != nil {
		return fmt.Errorf("cannot set %s on the registry of controllers: %w", annotation, err)
	}
	return nil
}

// Read returns what the registry says now.
func (r *Registry) Read(ctx context.Context) (State, error) {
	object, err := r.maps.Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return State{}, fmt.Errorf("cannot read the registry of controllers: %w", err)
	}
	return stateOf(object), nil
}

// edit changes the object as it is; who comes second looks at what the first one has written.
func (r *Registry) edit(ctx context.Context, change func(*corev1.ConfigMap) (changed bool, err error)) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := r.maps.Get(ctx, Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		changed, err := change(object)
		if err != nil || !changed {
			return err
		}
		_, err = r.maps.Update(ctx, object, metav1.UpdateOptions{})
		return err
	})
}

func annotate(object *corev1.ConfigMap, annotation string, set bool) {
	if !set {
		return
	}
	if object.Annotations == nil {
		object.Annotations = map[string]string{}
	}
	object.Annotations[annotation] = "true"
}

func put(object *corev1.ConfigMap, group string, entry Entry) error {
	value, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("cannot encode an entry of the registry: %w", err)
	}
	if object.Data == nil {
		object.Data = map[string]string{}
	}
	object.Data[group] = string(value)
	return nil
}

// parse reads an entry; what cannot be read, or names no process, is nobody's.
func parse(value string) (Entry, bool) {
	var entry Entry
	if err := json.Unmarshal([]byte(value), &entry); err != nil || entry.Process.PID <= 0 {
		return Entry{}, false
	}
	return entry, true
}

func stateOf(object *corev1.ConfigMap) State {
	state := State{
		Entries: map[string]Entry{},
		Ready:   object.Annotations[AnnotationReady] == "true", Stopping: object.Annotations[AnnotationStopping] == "true",
	}
	for group, value := range object.Data {
		if entry, ok := parse(value); ok {
			state.Entries[group] = entry
		}
	}
	return state
}

// alive tells whether a process may still be there.
func alive(id process.Identity) bool {
	handle, err := process.Open(id)
	if errors.Is(err, process.ErrGone) {
		return false
	}
	if err == nil {
		_ = handle.Close()
	}
	return true
}
