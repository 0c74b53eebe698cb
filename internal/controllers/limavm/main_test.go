package limavm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/seed-192657fa/rdd/config/crd"
	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/controlplane"
)

// The control planes that the tests share, one after the other.
var guarded, unguarded = plane{admission: true}, plane{}

// TestMain silences Kubernetes' own logs, which are most of the output otherwise, and stops the control planes.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	ctrllog.SetLogger(logr.Discard())
	code := m.Run()
	for _, p := range []*plane{&guarded, &unguarded} {
		if err := p.close(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot stop a control plane:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// plane is a control plane, started when the first test needs it.
type plane struct {
	admission bool

	start  sync.Once
	err    error
	dir    string
	server *controlplane.Server
	client client.WithWatch
}

func (p *plane) open() { p.err = p.tryOpen() }

func (p *plane) tryOpen() (err error) {
	crds, err := crd.All()
	if err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp("", "limavm-test-"); err != nil {
		return err
	}
	admission, err := limavm.NewAdmission(limavm.AdmissionConfig{Templates: templates(), MaxNameLength: maxNameLength})
	if err != nil {
		return err
	}
	config := controlplane.Config{
		Store:      filepath.Join(p.dir, "data", "store.db"),
		TLSDir:     filepath.Join(p.dir, "tls"),
		Kubeconfig: filepath.Join(p.dir, "kubeconfig"),
		CRDs:       crds,
		Version:    "v0.0.0-test",
		Log:        slog.New(slog.DiscardHandler),
	}
	if p.admission {
		config.Admission = []controlplane.Admission{admission}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if p.server, err = controlplane.Start(ctx, config); err != nil {
		return err
	}
	scheme, err := limavm.Scheme()
	if err != nil {
		return err
	}
	if p.client, err = client.NewWithWatch(p.server.Loopback(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	admission.SetReader(p.client)
	return nil
}

func (p *plane) close() error {
	var err error
	if p.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err = p.server.Stop(ctx)
	}
	if p.dir == "" {
		return err
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
