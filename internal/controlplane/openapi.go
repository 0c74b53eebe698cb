package controlplane

import (
	"context"

	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	openapifeatures "k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/seed-192657fa/rdd/internal/controlplane/openapi"
)

// openAPIConfig is for version 3 only: the document of version 2 is one, of everything, and costs 16 MB to hold.
func openAPIConfig() *common.OpenAPIV3Config {
	definitions := openapifeatures.GetOpenAPIDefinitionsWithoutDisabledFeatures(openapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme, apiextensionsapiserver.Scheme)
	c := genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	c.Info.Title = "rdd"
	return c
}

// runnable is what GenericAPIServer.PrepareRun returns.
type runnable interface {
	RunWithContext(ctx context.Context) error
}

// prepareRun installs what remains to be installed, and lets the schemas of custom resources be published: without a document
// of version 2, the controller that does it takes OpenAPI to be off altogether, and does not start.
func prepareRun(s *genericapiserver.GenericAPIServer) runnable {
	prepared := s.PrepareRun()
	s.StaticOpenAPISpec = &spec.Swagger{}
	return prepared
}
