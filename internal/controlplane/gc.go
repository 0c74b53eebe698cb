package controlplane

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
)

const (
	// gcPause is between two looks of the garbage collector at the resources that there are.
	gcPause = time.Second
	// gcAgain is when it looks without having been told of a change: what failed before may work now.
	gcAgain = time.Minute
)

// runGarbageCollector runs upstream's garbage collector of owner references until ctx is done.
func runGarbageCollector(ctx context.Context, cl *clients, groups *discoveryGroups) error {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(cl.kube.Discovery()))
	objects := metadatainformer.NewSharedInformerFactory(cl.metadata, 0)
	started := make(chan struct{})
	close(started)
	gc, err := garbagecollector.NewGarbageCollector(ctx, cl.kube, cl.metadata, mapper,
		garbagecollector.DefaultIgnoredResources(), metadataInformers{objects}, started)
	if err != nil {
		return fmt.Errorf("cannot set up the garbage collector: %w", err)
	}
	resources := &changedResources{DiscoveryClient: cl.kube.DiscoveryClient, changes: groups.changes}
	var wg sync.WaitGroup
	wg.Go(func() { gc.Run(ctx, 1, time.Minute) })
	wg.Go(func() { gc.Sync(ctx, resources, gcPause) })
	wg.Wait()
	objects.Shutdown()
	return nil
}

// metadataInformers holds nothing but the metadata of objects: that is where the owners are.
type metadataInformers struct {
	metadatainformer.SharedInformerFactory
}

var _ informerfactory.InformerFactory = metadataInformers{}

func (m metadataInformers) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	return m.SharedInformerFactory.ForResource(gvr), nil
}

// changedResources answers the garbage collector, which polls discovery, when there is something new in it.
type changedResources struct {
	*discovery.DiscoveryClient
	changes *changes
	next    <-chan struct{}
}

var _ discovery.ServerResourcesInterfaceWithContext = (*changedResources)(nil)

func (c *changedResources) ServerPreferredResourcesWithContext(ctx context.Context) ([]*metav1.APIResourceList, error) {
	if c.next != nil {
		timer := time.NewTimer(gcAgain)
		defer timer.Stop()
		select {
		case <-c.next:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c.next = c.changes.next()
	return c.DiscoveryClient.ServerPreferredResourcesWithContext(ctx)
}
