package registration

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// TokenLife is how long the token of an account is good for.
const TokenLife = time.Hour

// Account is the service account in Namespace that the controllers of a group use outside the daemon. Its tokens die with it.
func Account(group string) string { return group + "-controllers" }

// roleName is that of the account's role, and of what binds it.
func roleName(group string) string { return "rdd:" + Account(group) }

// rules are all that the controllers of VMs need: no secrets, no accounts, no roles, no namespaces.
func rules() []rbacv1.PolicyRule {
	const lima = "lima.rancherdesktop.io"
	return []rbacv1.PolicyRule{
		{APIGroups: []string{lima}, Resources: []string{"limavms"}, Verbs: []string{"get", "list", "watch", "patch"}},
		{APIGroups: []string{lima}, Resources: []string{"limavms/status"}, Verbs: []string{"patch"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create"}},
		{
			APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"update"}, ResourceNames: []string{Name},
		},
	}
}

// Grant sees to it that the account of a group exists, with the rights that its controllers need and no others. It is for
// the control plane, as it starts.
func Grant(ctx context.Context, config *rest.Config, group string) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot set up the account of external controllers: %w", err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Account(group)}}
	if _, err := client.CoreV1().ServiceAccounts(Namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot make the account of external controllers: %w", err)
	}
	name := roleName(group)
	roles := client.RbacV1().ClusterRoles()
	want := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules()}
	_, err = roles.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		var have *rbacv1.ClusterRole
		if have, err = roles.Get(ctx, name, metav1.GetOptions{}); err == nil && !reflect.DeepEqual(have.Rules, want.Rules) {
			have.Rules = want.Rules
			_, err = roles.Update(ctx, have, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("cannot set up the role of external controllers: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: Namespace, Name: Account(group)}},
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot bind the role of external controllers: %w", err)
	}
	return nil
}

// Revoke takes the rights of a group's account away. The account and its role stay: without each other they allow nothing. It is
// for the control plane, as it starts.
func Revoke(ctx context.Context, config *rest.Config, group string) error {
	client, err := kubernetes.NewForConfig(config)
	if err == nil {
		err = client.RbacV1().ClusterRoleBindings().Delete(ctx, roleName(group), metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot take the rights of external controllers away: %w", err)
	}
	return nil
}

// ErrRevoked says that the controllers of a group are let in no more.
var ErrRevoked = errors.New("access is revoked")

// Token makes a token of a group's account, with the owner's credentials. The error is ErrRevoked where there is no account.
func Token(ctx context.Context, owner *rest.Config, group string) (string, error) {
	client, err := kubernetes.NewForConfig(owner)
	if err != nil {
		return "", fmt.Errorf("cannot ask for a token: %w", err)
	}
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(TokenLife.Seconds()))},
	}
	got, err := client.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, Account(group), request, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("the account %s/%s is gone, so %w; \"rdd svc restart\" grants it again", Namespace, Account(group), ErrRevoked)
	}
	if err != nil {
		return "", fmt.Errorf("cannot get a token of the account %s/%s: %w", Namespace, Account(group), err)
	}
	return got.Status.Token, nil
}
