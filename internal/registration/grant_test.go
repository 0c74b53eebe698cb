package registration_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/seed-192657fa/rdd/internal/controlplane"
	"github.com/seed-192657fa/rdd/internal/registration"
)

// patience is for a busy computer.
const patience = 30 * time.Second

// TestRightsComeAndGo: what was granted is taken back, again is fine, and it can be granted anew. It fails when Revoke leaves the
// binding.
func TestRightsComeAndGo(t *testing.T) {
	dir := t.TempDir()
	server, err := controlplane.Start(t.Context(), controlplane.Config{
		Store: filepath.Join(dir, "data", "store.db"), TLSDir: filepath.Join(dir, "tls"), Kubeconfig: filepath.Join(dir, "kubeconfig"),
		Version: "v0.0.0-test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	const group = "lima"
	config := server.Loopback()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	// Rights follow the binding a moment later.
	await := func(want bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + registration.Namespace + ":" + registration.Account(group),
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "configmaps"},
		}}
		for {
			got, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
			if err != nil {
				t.Fatalf("that the account has rights never becomes %t: %v", want, err)
			}
			if got.Status.Allowed == want {
				return
			}
		}
	}
	for range 2 {
		for range 2 {
			if err := registration.Revoke(t.Context(), config, group); err != nil {
				t.Fatal(err)
			}
			await(false)
		}
		if err := registration.Grant(t.Context(), config, group); err != nil {
			t.Fatal(err)
		}
		await(true)
	}
}
