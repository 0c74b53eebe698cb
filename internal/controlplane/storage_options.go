package controlplane

import (
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/utils/clock"
)

const keyPrefix = "/registry"

// storageOptions tells every resource where and how it is stored: in the one store, through its one client. The usual getter
// opens a client, with a connection, for each resource.
type storageOptions struct {
	// store is there as soon as the first resource is installed.
	store  *store
	config storagebackend.Config
	native *serverstorage.DefaultStorageFactory
}

func newStorageOptions(s *store, resources *serverstorage.ResourceConfig) *storageOptions {
	config := *storagebackend.NewDefaultConfig(keyPrefix, nil)
	config.CompactionInterval = 0
	native := serverstorage.NewDefaultStorageFactory(config, runtime.ContentTypeProtobuf, legacyscheme.Codecs,
		serverstorage.NewDefaultResourceEncodingConfig(legacyscheme.Scheme), resources, nil)
	// One event, two groups that show it.
	native.AddCohabitatingResources(corev1.Resource("events"), eventsv1.Resource("events"))
	return &storageOptions{store: s, config: config, native: native}
}

// GetRESTOptions serves the groups that are compiled in.
func (o *storageOptions) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	if resource.Group == apiextensions.GroupName {
		config := o.config.ForResource(resource)
		config.Codec = apiextensionsapiserver.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
		return o.options(config, resource.String()), nil
	}
	config, err := o.native.NewConfig(resource, example)
	if err != nil {
		return generic.RESTOptions{}, err
	}
	return o.options(config, strings.ToLower(resource.Resource)), nil
}

// custom serves custom resources, which are stored as they come.
type customStorageOptions struct{ *storageOptions }

func (o customStorageOptions) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := o.config.ForResource(resource)
	config.Codec = unstructured.UnstructuredJSONScheme
	return o.options(config, resource.Group+"/"+resource.Resource), nil
}

func (o *storageOptions) options(config *storagebackend.ConfigForResource, prefix string) generic.RESTOptions {
	return generic.RESTOptions{
		StorageConfig:           config,
		Decorator:               o.newStorage,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          prefix,
	}
}

// newStorage is a generic.StorageDecorator. The watch cache is for stores that are away: with the embedded one it costs memory
// and makes half of all restarts wait for a second.
func (o *storageOptions) newStorage(
	config *storagebackend.ConfigForResource,
	resourcePrefix string,
	keyFunc func(obj runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object,
	getAttrs storage.AttrFunc,
	triggers storage.IndexerFuncs,
	indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	versioner := storage.APIObjectVersioner{}
	raw, err := etcd3.New(o.store.client, o.store.compactor, config.Codec, newFunc, newListFunc, config.Prefix, resourcePrefix,
		config.GroupResource, identity.NewEncryptCheckTransformer(), config.LeaseManagerConfig,
		etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		return nil, nil, err
	}
	if !o.store.external {
		return raw, sync.OnceFunc(raw.Close), nil
	}
	c, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage:             raw,
		Versioner:           versioner,
		GroupResource:       config.GroupResource,
		EventsHistoryWindow: config.EventsHistoryWindow,
		ResourcePrefix:      resourcePrefix,
		KeyFunc:             keyFunc,
		NewFunc:             newFunc,
		NewListFunc:         newListFunc,
		GetAttrsFunc:        getAttrs,
		IndexerFuncs:        triggers,
		Indexers:            indexers,
		Codec:               config.Codec,
	})
	if err != nil {
		raw.Close()
		return nil, nil, err
	}
	delegator := cacher.NewCacheDelegator(c, raw)
	return delegator, sync.OnceFunc(func() {
		delegator.Stop()
		c.Stop()
		raw.Close()
	}), nil
}

type stoppableCompactor interface {
	etcd3.Compactor
	Stop()
}

func newCompactor(client *clientv3.Client) stoppableCompactor {
	return etcd3.NewCompactor(client, compactInterval, clock.RealClock{}, func() {})
}
