package controlplane

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
)

// ensureCRDs creates or updates all definitions at once, and then waits until all are served. One after the other, each would
// take as long as all together.
func ensureCRDs(ctx context.Context, cl *clients, discovery *discoveryGroups, crds []*apiextensionsv1.CustomResourceDefinition) error {
	served, err := watchEstablished(cl, crds)
	if err != nil {
		return err
	}
	defer served.stop()

	errs := make([]error, len(crds))
	var wg sync.WaitGroup
	for i, crd := range crds {
		wg.Go(func() {
			written, err := ensureCRD(ctx, cl, crd)
			if err != nil {
				errs[i] = fmt.Errorf("cannot set up the resource definition %s: %w", crd.Name, err)
				return
			}
			served.expect(written)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := served.wait(ctx); err != nil {
		return err
	}
	return discovery.waitFor(ctx, servedVersions(crds))
}

// justCreated is how long, after a definition was established, the server sleeps in each creation of such a resource.
const justCreated = 2 * time.Second

// withoutPeers dates the establishment of definitions back in the cache that they are served from. Upstream's server holds
// the first objects of a new definition back for two seconds, so that other servers come to know of it. There are none.
func withoutPeers(obj any) (any, error) {
	crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return obj, nil
	}
	if c := apiextensionshelpers.FindCRDCondition(crd, apiextensionsv1.Established); c != nil && time.Since(c.LastTransitionTime.Time) < justCreated {
		c.LastTransitionTime.Time = c.LastTransitionTime.Add(-justCreated)
	}
	return crd, nil
}

// ensureCRD brings one definition up to date, and returns it as it is stored. What the server fills in by itself does not
// count as a difference.
func ensureCRD(ctx context.Context, cl *clients, want *apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	desired := want.DeepCopy()
	apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(desired)

	api := cl.crds.ApiextensionsV1().CustomResourceDefinitions()
	got, err := cl.crdInformer.Lister().Get(want.Name)
	if apierrors.IsNotFound(err) {
		got, err = api.Create(ctx, desired, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			got, err = api.Get(ctx, want.Name, metav1.GetOptions{})
		}
	}
	if err != nil || upToDate(got, desired) {
		return got, err
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if got, err = api.Get(ctx, want.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		got.Spec = desired.Spec
		got.Labels = merged(got.Labels, want.Labels)
		got.Annotations = merged(got.Annotations, want.Annotations)
		got, err = api.Update(ctx, got, metav1.UpdateOptions{})
		return err
	})
	return got, err
}

func upToDate(got, want *apiextensionsv1.CustomResourceDefinition) bool {
	return equality.Semantic.DeepEqual(got.Spec, want.Spec) &&
		contains(got.Labels, want.Labels) && contains(got.Annotations, want.Annotations)
}

func contains(all, part map[string]string) bool {
	for k, v := range part {
		if all[k] != v {
			return false
		}
	}
	return true
}

func merged(all, part map[string]string) map[string]string {
	if all == nil {
		return part
	}
	for k, v := range part {
		all[k] = v
	}
	return all
}

func servedVersions(crds []*apiextensionsv1.CustomResourceDefinition) []schema.GroupVersion {
	var gvs []schema.GroupVersion
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			if v.Served {
				gvs = append(gvs, schema.GroupVersion{Group: crd.Spec.Group, Version: v.Name})
			}
		}
	}
	return gvs
}

// establishment follows definitions until each is established, through the very cache that custom resources are served from.
type establishment struct {
	mu       sync.Mutex
	crds     map[string]*apiextensionsv1.CustomResourceDefinition // as the cache has them
	expected map[string]int64                                     // the generation that is waited for, 0 while it is not known
	refused  chan error
	done     chan struct{}
	stop     func()
}

func watchEstablished(cl *clients, crds []*apiextensionsv1.CustomResourceDefinition) (*establishment, error) {
	e := &establishment{
		crds:     map[string]*apiextensionsv1.CustomResourceDefinition{},
		expected: map[string]int64{},
		refused:  make(chan error, 1),
		done:     make(chan struct{}),
	}
	for _, crd := range crds {
		e.expected[crd.Name] = 0
	}
	if len(crds) == 0 {
		close(e.done)
	}
	informer := cl.crdInformer.Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { e.saw(obj) },
		UpdateFunc: func(_, obj any) { e.saw(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("cannot follow resource definitions: %w", err)
	}
	e.stop = func() { _ = informer.RemoveEventHandler(registration) }
	return e, nil
}

// expect says that crd is the one to wait for.
func (e *establishment) expect(crd *apiextensionsv1.CustomResourceDefinition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expected[crd.Name] = crd.Generation
	e.check(crd.Name)
}

func (e *establishment) saw(obj any) {
	crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.crds[crd.Name] = crd
	e.check(crd.Name)
}

func (e *establishment) check(name string) {
	crd, generation := e.crds[name], e.expected[name]
	if crd == nil || generation == 0 || crd.Generation < generation {
		return
	}
	if c := apiextensionshelpers.FindCRDCondition(crd, apiextensionsv1.NamesAccepted); c != nil && c.Status == apiextensionsv1.ConditionFalse {
		select {
		case e.refused <- fmt.Errorf("the names of the resource definition %s are not accepted: %s", crd.Name, c.Message):
		default:
		}
		return
	}
	if !apiextensionshelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return
	}
	if delete(e.expected, name); len(e.expected) == 0 {
		close(e.done)
	}
}

func (e *establishment) wait(ctx context.Context) error {
	select {
	case <-e.done:
		return nil
	case err := <-e.refused:
		return err
	case <-ctx.Done():
		return fmt.Errorf("cannot establish the resource definitions: %w", ctx.Err())
	}
}
