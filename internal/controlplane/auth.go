package controlplane

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/pkg/serviceaccount"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// tokenIssuer is in every service account token. It does not name the port: a token stays valid when the port changes.
const tokenIssuer = "https://kubernetes.default.svc.cluster.local"

// tokens makes and checks service account tokens.
type tokens struct {
	generator serviceaccount.TokenGenerator
	keys      serviceaccount.PublicKeysGetter
	audiences authenticator.Audiences
}

func newTokens(creds *credentials) (*tokens, error) {
	generator, err := serviceaccount.JWTTokenGenerator(tokenIssuer, creds.serviceAccountKey)
	if err != nil {
		return nil, fmt.Errorf("cannot use the service account key: %w", err)
	}
	keys, err := serviceaccount.StaticPublicKeysGetter([]any{&creds.serviceAccountKey.PublicKey})
	if err != nil {
		return nil, fmt.Errorf("cannot use the service account key: %w", err)
	}
	return &tokens{generator: generator, keys: keys, audiences: authenticator.Audiences{tokenIssuer}}, nil
}

// newAuthenticator knows, in this order: this process, client certificates of our own authority, service account tokens, and
// nobody in particular, who may look at the health and the version. Nothing is cached, so that a token dies with its account.
func newAuthenticator(ca *x509.Certificate, t *tokens, client kubernetes.Interface) authenticator.Request {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	verify := x509request.DefaultVerifyOptions()
	verify.Roots = roots

	bearer := serviceaccount.JWTTokenAuthenticator([]string{tokenIssuer}, t.keys, t.audiences,
		serviceaccount.NewValidator(tokenSubjects{client}))
	known := group.NewAuthenticatedGroupAdder(union.New(
		x509request.New(verify, x509request.CommonNameUserConversion),
		bearertoken.New(bearer),
	))
	outside := union.NewFailOnError(known, anonymous.NewAuthenticator(nil))
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if response, ok := authenticateLoopback(req); ok {
			return response, true, nil
		}
		return outside.AuthenticateRequest(req)
	})
}

// newAuthorizer lets system:masters do everything, and asks RBAC about the others.
func newAuthorizer(factory informers.SharedInformerFactory) (authorizer.Authorizer, authorizer.RuleResolver, error) {
	masters := authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)
	objects := factory.Rbac().V1()
	roles := rbac.New(
		&rbac.RoleGetter{Lister: objects.Roles().Lister()},
		&rbac.RoleBindingLister{Lister: objects.RoleBindings().Lister()},
		&rbac.ClusterRoleGetter{Lister: objects.ClusterRoles().Lister()},
		&rbac.ClusterRoleBindingLister{Lister: objects.ClusterRoleBindings().Lister()},
	)
	both, err := authorizerunion.New(
		authorizerunion.NamedAuthorizer{Authorizer: masters, AuthorizerName: "masters"},
		authorizerunion.NamedAuthorizer{Authorizer: roles, AuthorizerName: "rbac"},
	)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot set up authorization: %w", err)
	}
	return both, roles, nil
}

// tokenSubjects looks up what a token is bound to.
type tokenSubjects struct{ client kubernetes.Interface }

func (s tokenSubjects) GetServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return s.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (s tokenSubjects) GetSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return s.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (tokenSubjects) GetPod(_ context.Context, _, name string) (*corev1.Pod, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
}

func (tokenSubjects) GetNode(_ context.Context, name string) (*corev1.Node, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
}

func (tokenSubjects) GetValidatingWebhookConfiguration(_ context.Context, name string) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(admissionregistrationv1.Resource("validatingwebhookconfigurations"), name)
}

func (tokenSubjects) GetMutatingWebhookConfiguration(_ context.Context, name string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(admissionregistrationv1.Resource("mutatingwebhookconfigurations"), name)
}
