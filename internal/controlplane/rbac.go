package controlplane

import (
	"context"
	"fmt"
	"reflect"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
)

// The roles that every instance has. Upstream's set has ninety, for controllers that do not exist here, and takes a second to
// set up.
const (
	roleClusterAdmin = "cluster-admin"
	roleDiscovery    = "system:discovery"
	roleBasicUser    = "system:basic-user"
	rolePublicInfo   = "system:public-info-viewer"
)

func clusterRoles() []rbacv1.ClusterRole {
	health := []string{"/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version", "/version/"}
	return []rbacv1.ClusterRole{
		clusterRole(roleClusterAdmin,
			rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
			rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
		),
		clusterRole(roleDiscovery, rbacv1.PolicyRule{
			Verbs:           []string{"get"},
			NonResourceURLs: append([]string{"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"}, health...),
		}),
		clusterRole(roleBasicUser,
			rbacv1.PolicyRule{
				Verbs: []string{"create"}, APIGroups: []string{"authorization.k8s.io"},
				Resources: []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"},
			},
			rbacv1.PolicyRule{
				Verbs: []string{"create"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"selfsubjectreviews"},
			},
		),
		clusterRole(rolePublicInfo, rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: health}),
	}
}

func clusterRoleBindings() []rbacv1.ClusterRoleBinding {
	return []rbacv1.ClusterRoleBinding{
		clusterRoleBinding(roleClusterAdmin, user.SystemPrivilegedGroup),
		clusterRoleBinding(roleDiscovery, user.AllAuthenticated),
		clusterRoleBinding(roleBasicUser, user.AllAuthenticated),
		clusterRoleBinding(rolePublicInfo, user.AllAuthenticated, user.AllUnauthenticated),
	}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
	return rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func clusterRoleBinding(role string, groups ...string) rbacv1.ClusterRoleBinding {
	b := rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for _, g := range groups {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: g})
	}
	return b
}

// ensureRBAC makes the roles what this version wants them to be.
func ensureRBAC(ctx context.Context, cl *clients) error {
	api, have := cl.kube.RbacV1(), cl.informers.Rbac().V1()
	for _, want := range clusterRoles() {
		got, err := have.ClusterRoles().Lister().Get(want.Name)
		switch {
		case apierrors.IsNotFound(err):
			_, err = api.ClusterRoles().Create(ctx, &want, metav1.CreateOptions{})
		case err == nil && !reflect.DeepEqual(got.Rules, want.Rules):
			got = got.DeepCopy()
			got.Rules = want.Rules
			_, err = api.ClusterRoles().Update(ctx, got, metav1.UpdateOptions{})
		}
		if err != nil {
			return fmt.Errorf("cannot set up the role %s: %w", want.Name, err)
		}
	}
	for _, want := range clusterRoleBindings() {
		if err := ensureBinding(ctx, api.ClusterRoleBindings(), have.ClusterRoleBindings().Lister().Get, want); err != nil {
			return fmt.Errorf("cannot set up the role binding %s: %w", want.Name, err)
		}
	}
	return nil
}

// ensureBinding creates what is missing, and otherwise leaves the subjects alone: whom a role is given to is the user's
// business.
func ensureBinding(ctx context.Context, api rbacclient.ClusterRoleBindingInterface, get func(string) (*rbacv1.ClusterRoleBinding, error), want rbacv1.ClusterRoleBinding) error {
	_, err := get(want.Name)
	if !apierrors.IsNotFound(err) {
		return err
	}
	_, err = api.Create(ctx, &want, metav1.CreateOptions{})
	return err
}
