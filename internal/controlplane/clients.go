package controlplane

import (
	"errors"

	crdclientset "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	crdinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	crdv1informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// clients are what this package talks to its own server with.
type clients struct {
	kube     *kubernetes.Clientset
	crds     crdclientset.Interface
	dynamic  dynamic.Interface
	metadata metadata.Interface

	informers informers.SharedInformerFactory
	// crdFactory and crdInformer are the apiextensions server's own.
	crdFactory  crdinformers.SharedInformerFactory
	crdInformer crdv1informers.CustomResourceDefinitionInformer
}

func newClients(config *rest.Config) (*clients, error) {
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = runtime.ContentTypeProtobuf
	protobuf.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON

	var c clients
	var errs [4]error
	c.kube, errs[0] = kubernetes.NewForConfig(protobuf)
	c.crds, errs[1] = crdclientset.NewForConfig(config)
	c.dynamic, errs[2] = dynamic.NewForConfig(config)
	c.metadata, errs[3] = metadata.NewForConfig(config)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	c.informers = informers.NewSharedInformerFactoryWithOptions(c.kube, 0, informers.WithTransform(withoutManagedFields))
	return &c, nil
}

// withoutManagedFields drops what no reader of a cache needs.
func withoutManagedFields(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil && m.GetManagedFields() != nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}
