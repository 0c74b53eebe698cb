package controlplane

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apiextensionshelpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdlisters "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// discoveryGroups is the aggregated discovery document, which also tells when it changes.
type discoveryGroups struct {
	aggregated.ResourceManager
	*changes
}

// changes knows the versions in the document, and wakes who waits for one, or for any difference.
type changes struct {
	mu      sync.Mutex
	known   map[schema.GroupVersion]struct{}
	changed chan struct{} // closed at each change
}

func newDiscoveryGroups() *discoveryGroups {
	return &discoveryGroups{
		ResourceManager: aggregated.NewResourceManager(genericapiserver.APIGroupPrefix[1:]),
		changes:         &changes{known: map[schema.GroupVersion]struct{}{}, changed: make(chan struct{})},
	}
}

// WithSource is how the apiextensions server gets the part for custom resources.
func (d *discoveryGroups) WithSource(source aggregated.Source) aggregated.ResourceManager {
	return &discoveryGroups{ResourceManager: d.ResourceManager.WithSource(source), changes: d.changes}
}

func (d *discoveryGroups) AddGroupVersion(group string, v apidiscoveryv2.APIVersionDiscovery) {
	d.ResourceManager.AddGroupVersion(group, v)
	d.note(func() { d.known[schema.GroupVersion{Group: group, Version: v.Version}] = struct{}{} })
}

func (d *discoveryGroups) RemoveGroup(group string) {
	d.ResourceManager.RemoveGroup(group)
	d.note(func() {
		maps.DeleteFunc(d.known, func(gv schema.GroupVersion, _ struct{}) bool { return gv.Group == group })
	})
}

func (d *discoveryGroups) RemoveGroupVersion(gv metav1.GroupVersion) {
	d.ResourceManager.RemoveGroupVersion(gv)
	d.note(func() { delete(d.known, schema.GroupVersion(gv)) })
}

func (c *changes) note(update func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	update()
	close(c.changed)
	c.changed = make(chan struct{})
}

// next is closed at the next change.
func (c *changes) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// waitFor returns when all versions are in the document.
func (c *changes) waitFor(ctx context.Context, gvs []schema.GroupVersion) error {
	for {
		c.mu.Lock()
		next := c.changed
		missing := slices.IndexFunc(gvs, func(gv schema.GroupVersion) bool { _, ok := c.known[gv]; return !ok })
		c.mu.Unlock()
		if missing < 0 {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("cannot see %s in discovery: %w", gvs[missing], ctx.Err())
		}
	}
}

// installDiscovery serves /apis. The apiextensions server leaves that to an aggregator, and kubectl would do with the
// aggregated document, but older clients read the list of groups, and expect those of custom resources in it.
func installDiscovery(s *genericapiserver.GenericAPIServer, crds crdlisters.CustomResourceDefinitionLister) {
	legacy := &groupList{native: s.DiscoveryGroupManager, crds: crds, serializer: s.Serializer}
	handler := aggregated.WrapAggregatedDiscoveryToHandler(legacy, s.AggregatedDiscoveryGroupManager, nil)
	s.Handler.GoRestfulContainer.Add(handler.GenerateWebService(genericapiserver.APIGroupPrefix, metav1.APIGroupList{}))
}

type groupList struct {
	native     discovery.GroupManager
	crds       crdlisters.CustomResourceDefinitionLister
	serializer runtime.NegotiatedSerializer
}

func (g *groupList) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	groups, err := g.groups(req)
	if err != nil {
		responsewriters.InternalError(w, req, err)
		return
	}
	responsewriters.WriteObjectNegotiated(g.serializer, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, req,
		http.StatusOK, &metav1.APIGroupList{Groups: groups}, false)
}

func (g *groupList) groups(req *http.Request) ([]metav1.APIGroup, error) {
	groups, err := g.native.Groups(req.Context(), req)
	if err != nil {
		return nil, err
	}
	crds, err := g.crds.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	versions := map[string][]string{}
	for _, crd := range crds {
		if !apiextensionshelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if v.Served && !slices.Contains(versions[crd.Spec.Group], v.Name) {
				versions[crd.Spec.Group] = append(versions[crd.Spec.Group], v.Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		group := metav1.APIGroup{Name: name}
		slices.SortFunc(versions[name], func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
		for _, v := range versions[name] {
			group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
		}
		group.PreferredVersion = group.Versions[0]
		groups = append(groups, group)
	}
	return groups, nil
}
