// Package controlplane owns the Kubernetes-style API of one rdd instance: the embedded API server, its store, its
// certificates and the credentials that lead to it.
//
// It is one GenericAPIServer: the apiextensions server with the few native groups installed into it that clients of a real
// cluster expect. There is no aggregator, no scheduler, no node. The store is SQLite behind kine, reached through an
// in-memory connection. Everything inside the process talks to the API through an in-process RoundTripper (Loopback); TLS is
// for everybody else. docs/decisions/0001-embedded-control-plane.md says why, with figures.
//
// It is the only package that imports k8s.io/apiserver, k8s.io/kubernetes, the apiextensions server, kine and etcd.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Config says what to serve and where its files are.
type Config struct {
	// Store is the file of the embedded store. Its directory is created, 0700, when it is missing.
	Store string
	// TLSDir holds certificates and the service account key: 0600 files in a 0700 directory. They persist.
	TLSDir string
	// Kubeconfig is where the admin's kubeconfig is written, 0600, at each start.
	Kubeconfig string
	// Listener is where the API is served, on the loopback interface; nil picks a free port. It is the server's from Start on,
	// and is closed when the server ends or cannot start.
	Listener net.Listener
	// DatastoreEndpoint is empty for the embedded store, or the URLs of an etcd (or of what speaks its protocol), separated
	// by commas, with the user and password that it wants, if any.
	DatastoreEndpoint string
	// CRDs are created or brought up to date before Start returns.
	CRDs []*apiextensionsv1.CustomResourceDefinition
	// Admission steps that are compiled in; see Admission.
	Admission []Admission
	// Version of rdd itself. It ends up in the build metadata of the server's version.
	Version string
	// Metrics are served on /metrics, with those of the API server; nil means none.
	Metrics prometheus.Gatherer
	// EventTTL is how long events are kept; 0 means an hour. The store counts in whole seconds.
	EventTTL time.Duration
	// Log gets what this package has to say. What Kubernetes' own code logs goes to klog, kine's to logrus.
	Log *slog.Logger
}

// Admission is a step of admission that runs inside this process. It takes the place of a webhook to ourselves: no TLS, no
// registration that can be deleted, no window in which it is missing. See docs/decisions/0002-admission-in-process.md.
//
// It runs after the mutating webhooks of others and before everything that validates.
type Admission interface {
	Name() string
	// Handles says which requests are of interest. For a request to a subresource, the resource reads as in a webhook's
	// rules, for instance "limavms/status".
	Handles(gvr schema.GroupVersionResource, op admissionv1.Operation) bool
	// Review gets the AdmissionRequest that a webhook would get: Object and OldObject are the raw JSON of the requested
	// version. It returns the changed object, or nil to leave it as it is. An error denies the request; an
	// *apierrors.StatusError reaches the client unchanged.
	Review(ctx context.Context, req *admissionv1.AdmissionRequest) (patched []byte, err error)
}

const defaultEventTTL = time.Hour

func (c *Config) complete() error {
	for _, required := range []struct{ name, value string }{
		{"Store", c.Store}, {"TLSDir", c.TLSDir}, {"Kubeconfig", c.Kubeconfig},
	} {
		if required.value == "" {
			return fmt.Errorf("%s is missing", required.name)
		}
	}
	if c.Log == nil {
		return errors.New("log is missing")
	}
	if c.EventTTL == 0 {
		c.EventTTL = defaultEventTTL
	}
	if c.EventTTL < time.Second {
		return fmt.Errorf("event TTL %s is shorter than a second", c.EventTTL)
	}
	if c.Listener != nil {
		return nil
	}
	var err error
	if c.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	return nil
}
