package controlplane

import (
	"fmt"
	"io"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

// systemNamespace holds what belongs to rdd itself.
const systemNamespace = "rdd-system"

// immortalNamespaces are there from the first start, and cannot be deleted.
func immortalNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, systemNamespace}
}

// admissionChain is: namespaces that exist, webhooks of others that change, our own steps, policies and webhooks that
// validate.
type admissionChain struct {
	mutatingAndValidating
	policies *validatingpolicy.Plugin
}

// mutatingAndValidating has to be known as both, or the server skips it.
type mutatingAndValidating interface {
	admission.MutationInterface
	admission.ValidationInterface
}

func newAdmissionChain(c *genericapiserver.Config, cl *clients, steps []Admission) (*admissionChain, error) {
	namespaces, err := lifecycle.NewLifecycle(sets.New(immortalNamespaces()...))
	if err != nil {
		return nil, err
	}
	mutating, err := mutatingwebhook.NewMutatingWebhook(nil)
	if err != nil {
		return nil, err
	}
	policies, err := validatingpolicy.NewPlugin(nil)
	if err != nil {
		return nil, err
	}
	validating, err := validatingwebhook.NewValidatingAdmissionWebhook(nil)
	if err != nil {
		return nil, err
	}

	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(cl.kube.Discovery()))
	initializers := admission.PluginInitializers{
		initializer.NewAPIServerIDInitializer(c.APIServerID),
		initializer.New(cl.kube, cl.dynamic, cl.informers, c.Authorization.Authorizer, c.FeatureGate,
			c.EffectiveVersion, c.DrainedNotify(), mapper),
		webhookinit.NewPluginInitializer(
			webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, c.LoopbackClientConfig, c.TracerProvider),
			noServices{}),
	}
	initializers.Initialize(policies)
	handler, err := chain(initializers, []namedPlugin{
		{lifecycle.PluginName, namespaces},
		{mutatingwebhook.PluginName, mutating},
		{"InProcess", &inProcess{steps}},
		{validatingpolicy.PluginName, struct{ admission.ValidationInterface }{policies}}, // see start
		{validatingwebhook.PluginName, validating},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot set up admission: %w", err)
	}
	// The policies need to know their objects; the informers are started before start is called.
	policyObjects := cl.informers.Admissionregistration().V1()
	policyObjects.ValidatingAdmissionPolicies().Informer()
	policyObjects.ValidatingAdmissionPolicyBindings().Informer()
	return &admissionChain{mutatingAndValidating: handler, policies: policies}, nil
}

// start lets the policies run. They poll until their informers are in sync, so that comes first, or the first write waits.
func (c *admissionChain) start() error {
	if err := c.policies.ValidateInitialization(); err != nil {
		return fmt.Errorf("cannot start admission policies: %w", err)
	}
	return nil
}

type namedPlugin struct {
	name   string
	plugin admission.Interface
}

// chain goes the way of a registry, because only that gives out a chain that calls webhooks again when later ones change
// something.
func chain(init admission.PluginInitializer, plugins []namedPlugin) (mutatingAndValidating, error) {
	registry := admission.NewPlugins()
	var names []string
	for _, p := range plugins {
		registry.Register(p.name, func(io.Reader) (admission.Interface, error) { return p.plugin, nil })
		names = append(names, p.name)
	}
	all, err := registry.NewFromPlugins(names, noPluginConfig{}, init, nil)
	if err != nil {
		return nil, err
	}
	both, ok := all.(mutatingAndValidating)
	if !ok {
		return nil, fmt.Errorf("the chain is %T, which does not mutate or does not validate", all)
	}
	return both, nil
}

type noPluginConfig struct{}

func (noPluginConfig) ConfigFor(string) (io.Reader, error) { return nil, nil }

// noServices answers webhooks that want to be reached through a Service: there are none here.
type noServices struct{}

func (noServices) ResolveEndpoint(namespace, name string, _ int32) (*url.URL, error) {
	return nil, fmt.Errorf("cannot reach the service %s/%s: there are no services here, give the webhook a url", namespace, name)
}
