package registration

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Follow calls changed with what the registry says, at first and after each change, and gone when somebody has deleted it. It
// returns when ctx is done. The calls come one after the other.
func (r *Registry) Follow(ctx context.Context, changed func(State), gone func()) error {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, Name).String()
	handle := func(object any) {
		if object, ok := object.(*corev1.ConfigMap); ok {
			changed(stateOf(object))
		}
	}
	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return r.maps.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return r.maps.Watch(ctx, options)
		},
	}, &corev1.ConfigMap{}, 0)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    handle,
		UpdateFunc: func(_, object any) { handle(object) },
		DeleteFunc: func(any) { gone() },
	})
	if err != nil {
		return fmt.Errorf("cannot follow the registry of controllers: %w", err)
	}
	informer.RunWithContext(ctx)
	return nil
}
