// Package v1alpha1 owns the API group lima.rancherdesktop.io/v1alpha1: the types of its objects, and the names that
// clients and controllers must agree on.
//
// +kubebuilder:object:generate=true
// +groupName=lima.rancherdesktop.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the name of the API group.
const Group = "lima.rancherdesktop.io"

// GroupVersion identifies this version of the API group.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: "v1alpha1"}
}

// LimaVMResource identifies the limavms of this version.
func LimaVMResource() schema.GroupVersionResource {
	return GroupVersion().WithResource("limavms")
}

// LimaVMKind identifies the kind LimaVM of this version.
func LimaVMKind() schema.GroupVersionKind {
	return GroupVersion().WithKind("LimaVM")
}

// AddToScheme adds the types of this version to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &LimaVM{}, &LimaVMList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
