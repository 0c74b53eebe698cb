package controlplane

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/discovery"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	// The groups' types, with their versions, defaults and conversions, register themselves.
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"

	admissionregistrationrest "k8s.io/kubernetes/pkg/registry/admissionregistration/rest"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	configmapstore "k8s.io/kubernetes/pkg/registry/core/configmap/storage"
	eventstore "k8s.io/kubernetes/pkg/registry/core/event/storage"
	namespacestore "k8s.io/kubernetes/pkg/registry/core/namespace/storage"
	secretstore "k8s.io/kubernetes/pkg/registry/core/secret/storage"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
	eventsrest "k8s.io/kubernetes/pkg/registry/events/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
)

// enabledResources lists the versions that are served. MutatingAdmissionPolicy is left out: it polls the OpenAPI document
// every five seconds, and so has it built.
func enabledResources() *serverstorage.ResourceConfig {
	r := serverstorage.NewResourceConfig()
	r.EnableVersions(
		corev1.SchemeGroupVersion,
		rbacv1.SchemeGroupVersion,
		coordinationv1.SchemeGroupVersion,
		eventsv1.SchemeGroupVersion,
		authenticationv1.SchemeGroupVersion,
		authorizationv1.SchemeGroupVersion,
		admissionregistrationv1.SchemeGroupVersion,
		apiextensionsv1.SchemeGroupVersion,
	)
	r.DisableResources(
		admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingadmissionpolicies"),
		admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingadmissionpolicybindings"),
	)
	return r
}

// installGroups adds the native groups to the server.
func installGroups(s *genericapiserver.GenericAPIServer, c *genericapiserver.Config, cfg *Config, tokens *tokens) error {
	core, err := coreGroup(c.RESTOptionsGetter, cfg, tokens)
	if err != nil {
		return fmt.Errorf("cannot set up the core group: %w", err)
	}
	if err := s.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, core); err != nil {
		return fmt.Errorf("cannot install the core group: %w", err)
	}

	discoveryClient, err := discovery.NewDiscoveryClientForConfig(c.LoopbackClientConfig)
	if err != nil {
		return err
	}
	providers := []interface {
		GroupName() string
		NewRESTStorage(serverstorage.APIResourceConfigSource, generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error)
	}{
		authenticationrest.RESTStorageProvider{Authenticator: c.Authentication.Authenticator, APIAudiences: c.Authentication.APIAudiences},
		authorizationrest.RESTStorageProvider{Authorizer: c.Authorization.Authorizer, RuleResolver: c.RuleResolver},
		rbacrest.RESTStorageProvider{Authorizer: c.Authorization.Authorizer},
		coordinationrest.RESTStorageProvider{},
		admissionregistrationrest.RESTStorageProvider{Authorizer: c.Authorization.Authorizer, DiscoveryClient: discoveryClient},
		eventsrest.RESTStorageProvider{TTL: cfg.EventTTL},
	}
	groups := make([]*genericapiserver.APIGroupInfo, 0, len(providers))
	for _, p := range providers {
		group, err := p.NewRESTStorage(c.MergedResourceConfig, c.RESTOptionsGetter)
		if err != nil {
			return fmt.Errorf("cannot set up the group %s: %w", p.GroupName(), err)
		}
		groups = append(groups, &group)
	}
	if err := s.InstallAPIGroups(groups...); err != nil {
		return fmt.Errorf("cannot install the native groups: %w", err)
	}
	return nil
}

// coreGroup is the part of core that makes sense without pods and nodes. Upstream's own provider of it links half of a
// cluster's code.
func coreGroup(getter generic.RESTOptionsGetter, cfg *Config, tokens *tokens) (*genericapiserver.APIGroupInfo, error) {
	info := genericapiserver.NewDefaultAPIGroupInfo(corev1.GroupName, legacyscheme.Scheme, legacyscheme.ParameterCodec, legacyscheme.Codecs)
	namespaces, namespaceStatus, namespaceFinalize, err := namespacestore.NewREST(getter)
	if err != nil {
		return nil, err
	}
	configMaps, err := configmapstore.NewREST(getter)
	if err != nil {
		return nil, err
	}
	secrets, err := secretstore.NewREST(getter)
	if err != nil {
		return nil, err
	}
	events, err := eventstore.NewREST(getter, uint64(cfg.EventTTL.Seconds()))
	if err != nil {
		return nil, err
	}
	serviceAccounts, err := serviceaccountstore.NewREST(getter, tokens.generator, tokens.audiences,
		authorizerfactory.NewAlwaysDenyAuthorizer(), 0, absent("pods"), secrets.Store, absent("nodes"),
		absentWebhook[*admissionregistrationv1.ValidatingWebhookConfiguration]("validatingwebhookconfigurations"),
		absentWebhook[*admissionregistrationv1.MutatingWebhookConfiguration]("mutatingwebhookconfigurations"),
		false, 0)
	if err != nil {
		return nil, err
	}
	info.VersionedResourcesStorageMap[corev1.SchemeGroupVersion.Version] = map[string]rest.Storage{
		"namespaces":            namespaces,
		"namespaces/status":     namespaceStatus,
		"namespaces/finalize":   namespaceFinalize,
		"configmaps":            configMaps,
		"secrets":               secrets,
		"events":                events,
		"serviceaccounts":       serviceAccounts,
		"serviceaccounts/token": serviceAccounts.Token,
	}
	return &info, nil
}

// absent stands for a core resource that tokens can be bound to in a cluster, but that does not exist here.
type absent string

func (a absent) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: string(a)}, name)
}

// absentWebhook stands for the webhook configurations, which tokens cannot be bound to here.
type absentWebhook[T any] string

func (a absentWebhook[T]) Get(_ context.Context, name string, _ metav1.GetOptions) (none T, err error) {
	return none, apierrors.NewNotFound(admissionregistrationv1.Resource(string(a)), name)
}
