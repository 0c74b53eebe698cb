package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/healthz"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

const (
	// watchGrace is how long watches get to end by themselves.
	watchGrace = time.Second
	// shutdownTimeout bounds the end of connections.
	shutdownTimeout = 2 * time.Second
	checkTimeout    = 2 * time.Second
)

// apiServer is the one GenericAPIServer, assembled but not yet running.
type apiServer struct {
	runnable
	clients   *clients
	admission *admissionChain
	discovery *discoveryGroups
	loopback  *loopback
	drained   <-chan struct{} // closed when, while stopping, all requests and watches have ended
	destroy   func()          // releases what RunWithContext does at its end, where that is never called
}

// newAPIServer assembles the server. It does not wait for the store.
func newAPIServer(cfg *Config, creds *credentials, listener net.Listener, s *store, ready healthz.HealthChecker) (*apiServer, error) {
	local := &loopback{}
	cl, err := newClients(local.config())
	if err != nil {
		return nil, fmt.Errorf("cannot make clients: %w", err)
	}
	tokens, err := newTokens(creds)
	if err != nil {
		return nil, err
	}
	generic, err := genericConfig(cfg, creds, listener, s, local, cl, tokens)
	if err != nil {
		return nil, err
	}
	generic.AddReadyzChecks(ready)
	groups := newDiscoveryGroups()
	generic.AggregatedDiscoveryGroupManager = groups
	chain, err := newAdmissionChain(generic, cl, cfg.Admission)
	if err != nil {
		return nil, err
	}
	generic.AdmissionControl = chain

	options := generic.RESTOptionsGetter.(*storageOptions)
	extensions := apiextensionsapiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: *generic, SharedInformerFactory: cl.informers},
		ExtraConfig: apiextensionsapiserver.ExtraConfig{
			CRDRESTOptionsGetter: customStorageOptions{options},
			MasterCount:          1, // with more, a definition waits five seconds before it is established
			ServiceResolver:      noServices{},
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, generic.LoopbackClientConfig, generic.TracerProvider),
		},
	}
	notFound := notfoundhandler.New(generic.Serializer, genericapifilters.NoMuxAndDiscoveryIncompleteKey)
	crds, err := extensions.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return nil, fmt.Errorf("cannot assemble the API server: %w", err)
	}
	server := crds.GenericAPIServer
	server.ShutdownTimeout = shutdownTimeout
	if err := installGroups(server, generic, cfg, tokens); err != nil {
		return nil, err
	}
	cl.crdFactory = crds.Informers
	cl.crdInformer = crds.Informers.Apiextensions().V1().CustomResourceDefinitions()
	if err := cl.crdInformer.Informer().SetTransform(withoutPeers); err != nil {
		return nil, fmt.Errorf("cannot set up the cache of resource definitions: %w", err)
	}
	installMetrics(server, cfg.Metrics)
	installDiscovery(server, cl.crdInformer.Lister())
	run := prepareRun(server)

	handler := http.Handler(server.Handler)
	local.handler.Store(&handler)
	return &apiServer{
		runnable: run, clients: cl, admission: chain, discovery: groups, loopback: local,
		drained: generic.DrainedNotify(), destroy: server.Destroy,
	}, nil
}

func genericConfig(cfg *Config, creds *credentials, listener net.Listener, s *store, local *loopback, cl *clients, tokens *tokens) (*genericapiserver.Config, error) {
	serving, err := dynamiccertificates.NewStaticCertKeyContent("serving", creds.serving.certPEM, creds.serving.keyPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot use the serving certificate: %w", err)
	}
	clientCA, err := dynamiccertificates.NewStaticCAContent("client-ca", creds.ca.certPEM)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate authority: %w", err)
	}
	c := genericapiserver.NewConfig(legacyscheme.Codecs)
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: listener, Cert: serving, ClientCA: clientCA}
	c.ExternalAddress = listener.Addr().String()
	c.LoopbackClientConfig = local.config()
	c.EffectiveVersion = newEffectiveVersion(cfg.Version)
	c.FeatureGate = utilfeature.DefaultFeatureGate
	c.MergedResourceConfig = enabledResources()
	c.RESTOptionsGetter = newStorageOptions(s, c.MergedResourceConfig)

	c.Authentication.Authenticator = newAuthenticator(creds.ca.cert, tokens, cl.kube)
	c.Authentication.APIAudiences = tokens.audiences
	c.Authorization.Authorizer, c.RuleResolver, err = newAuthorizer(cl.informers)
	if err != nil {
		return nil, err
	}
	c.OpenAPIV3Config = openAPIConfig()
	c.EnableMetrics = false // installMetrics does it

	c.MaxRequestBodyBytes = maxBody
	c.BuildHandlerChainFunc = newLimits(creds).chain
	// One user, one host: nothing here has to be counted to share it fairly.
	c.StorageObjectCountTracker = nil
	c.DisabledPostStartHooks.Insert("max-in-flight-filter")
	c.ShutdownWatchTerminationGracePeriod = watchGrace
	c.AddHealthChecks(healthz.NamedCheck("etcd", func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), checkTimeout)
		defer cancel()
		return s.check(ctx)
	}))
	return c, nil
}
