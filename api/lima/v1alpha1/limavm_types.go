package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RestartPolicy tells what to do when a running VM dies by itself.
//
// +kubebuilder:validation:Enum=Always;Never
type RestartPolicy string

const (
	// RestartAlways starts it again: the first time at once, then after a pause that doubles from 1 second to 5 minutes.
	RestartAlways RestartPolicy = "Always"
	// RestartNever leaves it down until the spec changes or a restart is requested.
	RestartNever RestartPolicy = "Never"
)

// Phase is one word for people about where a VM stands.
type Phase string

// The phases of a VM.
const (
	PhasePending  Phase = "Pending"
	PhaseCreating Phase = "Creating"
	PhaseStopped  Phase = "Stopped"
	PhaseStarting Phase = "Starting"
	PhaseRunning  Phase = "Running"
	PhaseStopping Phase = "Stopping"
	PhaseFailed   Phase = "Failed"
	PhaseDeleting Phase = "Deleting"
)

// TemplateReference names the ConfigMap that a VM's template is first read from.
type TemplateReference struct {
	// Name of the ConfigMap. Its key "template" holds a complete Lima template, with no "base:" left to resolve.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Namespace of the ConfigMap. Defaults to the VM's own namespace.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// LimaVMSpec is what the user asks for.
type LimaVMSpec struct {
	// TemplateRef names the ConfigMap with the Lima template that the VM is made from. It is read once, when the VM is
	// created. From then on the template lives in the ConfigMap that status.templateConfigMap names: edit that one to
	// change the VM. Immutable.
	//
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="templateRef is immutable"
	TemplateRef TemplateReference `json:"templateRef"`

	// Running tells whether the VM should run. Setting it to false shuts the VM down.
	//
	// +optional
	// +kubebuilder:default=false
	Running bool `json:"running,omitempty"`

	// Params are merged over the "param" section of the template; each name must be known to the template. A change
	// restarts a running VM.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Params map[string]string `json:"params,omitempty"`

	// StopGracePeriodSeconds is how long the guest has for shutting down before it is ended by force, whenever the VM is
	// stopped, restarted, reset or deleted. 0 forces at once. While a stop is under way, a lower value shortens it.
	//
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	StopGracePeriodSeconds *int32 `json:"stopGracePeriodSeconds,omitempty"`

	// RestartPolicy tells what to do when the VM dies by itself while it should run. "Always" starts it again: the first
	// time at once, then after a pause that doubles from 1 second to 5 minutes and is forgotten after 10 minutes of
	// health. "Never" leaves it down until the spec changes or a restart is requested.
	//
	// +optional
	// +kubebuilder:default=Always
	RestartPolicy RestartPolicy `json:"restartPolicy,omitempty"`
}

// HostStatus tells which processes of the host carry the running VM.
type HostStatus struct {
	// PID of the hostagent, the process that looks after the VM.
	PID int32 `json:"pid"`

	// Identity of the hostagent: its PID together with what tells it from other processes that had, or will have, the same
	// PID. Opaque.
	Identity string `json:"identity"`

	// DriverPID is the PID of the process that executes the guest (QEMU, for example). It equals pid where the hostagent
	// does so itself, and is absent while it is not known.
	//
	// +optional
	DriverPID int32 `json:"driverPID,omitempty"`

	// StartTime is when the hostagent was started.
	//
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// Adopted is true when an earlier daemon started the hostagent, and this one took it over without touching the guest.
	//
	// +optional
	Adopted bool `json:"adopted,omitempty"`
}

// InstanceStatus tells what the VM is made of.
type InstanceStatus struct {
	// Directory that holds the instance on the host.
	//
	// +optional
	Directory string `json:"directory,omitempty"`

	// VMType is the technology that executes the guest: "qemu", "vz" or "wsl2".
	//
	// +optional
	VMType string `json:"vmType,omitempty"`

	// Arch is the architecture of the guest in Lima's words: "x86_64" or "aarch64", for example.
	//
	// +optional
	Arch string `json:"arch,omitempty"`

	// CPUs is the number of virtual CPUs.
	//
	// +optional
	CPUs int32 `json:"cpus,omitempty"`

	// Memory of the guest.
	//
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`

	// Disk is the size of the guest's main disk.
	//
	// +optional
	Disk *resource.Quantity `json:"disk,omitempty"`

	// SSHPort is the port on 127.0.0.1 that the guest's ssh server answers on; absent while the VM does not run.
	//
	// +optional
	SSHPort int32 `json:"sshPort,omitempty"`
}

// ProgressStatus tells how far a long operation is.
type ProgressStatus struct {
	// Stage for people: "Downloading the image", for example.
	Stage string `json:"stage"`

	// Percent of the stage that is done, from 0 to 100; absent when it cannot be told.
	//
	// +optional
	Percent *int32 `json:"percent,omitempty"`

	// Message has details, for people.
	//
	// +optional
	Message string `json:"message,omitempty"`
}

// LimaVMStatus is what was observed.
type LimaVMStatus struct {
	// Phase is one word for people: Pending, Creating, Stopped, Starting, Running, Stopping, Failed or Deleting. Programs
	// look at the conditions instead.
	//
	// +optional
	Phase Phase `json:"phase,omitempty"`

	// ObservedGeneration is the metadata.generation that this status takes into account.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// TemplateConfigMap is the name of the ConfigMap, in the VM's namespace, that holds the VM's template under the key
	// "template". Edit it to change the VM: its content is validated, and applied by a restart if the VM runs.
	//
	// +optional
	TemplateConfigMap string `json:"templateConfigMap,omitempty"`

	// ObservedTemplateResourceVersion is the metadata.resourceVersion of the template's ConfigMap that is fully applied, with the params:
	// written to the instance and, if the VM should run, running.
	//
	// +optional
	ObservedTemplateResourceVersion string `json:"observedTemplateResourceVersion,omitempty"`

	// AppliedTemplate identifies the content, template and params together, that the instance has. Opaque.
	//
	// +optional
	AppliedTemplate string `json:"appliedTemplate,omitempty"`

	// RestartNeeded is true from the moment a requested restart is noted until the VM has stopped for it.
	//
	// +optional
	RestartNeeded bool `json:"restartNeeded,omitempty"`

	// RestartCount is how many times the VM was started and came up. A VM that goes on running while the daemon is
	// replaced is not counted again.
	//
	// +optional
	RestartCount int32 `json:"restartCount,omitempty"`

	// Host tells which processes of the host carry the VM; absent unless it runs.
	//
	// +optional
	Host *HostStatus `json:"host,omitempty"`

	// Instance tells what the VM is made of; absent until it is created.
	//
	// +optional
	Instance *InstanceStatus `json:"instance,omitempty"`

	// Progress is present while something long is under way.
	//
	// +optional
	Progress *ProgressStatus `json:"progress,omitempty"`

	// Conditions: Created (the instance exists on disk), Running (the guest has booted and answers over ssh) and Degraded
	// (it runs, but something that the user asked for does not work). "kubectl wait --for=condition=Running" works for
	// each.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// LimaVM is a virtual machine on this host, run by Lima. Its name is unique across all namespaces, because it names a
// directory on the host.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=limavms,singular=limavm,shortName=lvm,categories=all
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="CPUs",type=integer,JSONPath=`.status.instance.cpus`
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.status.instance.memory`
// +kubebuilder:printcolumn:name="SSH",type=integer,JSONPath=`.status.instance.sshPort`
// +kubebuilder:printcolumn:name="Restarts",type=integer,JSONPath=`.status.restartCount`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Created",type=string,JSONPath=`.status.conditions[?(@.type=="Created")].status`,priority=1
// +kubebuilder:printcolumn:name="Running",type=string,JSONPath=`.status.conditions[?(@.type=="Running")].status`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Running")].reason`,priority=1
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.instance.vmType`,priority=1
// +kubebuilder:printcolumn:name="Disk",type=string,JSONPath=`.status.instance.disk`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Running")].message`,priority=1
type LimaVM struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the user asks for.
	Spec LimaVMSpec `json:"spec"`

	// Status is what was observed.
	//
	// +optional
	Status LimaVMStatus `json:"status,omitempty"`
}

// TemplateConfigMapName is the name of the ConfigMap that holds the VM's template.
func (vm *LimaVM) TemplateConfigMapName() string {
	return vm.Name + TemplateSuffix
}

// LimaVMList is a list of LimaVMs.
//
// +kubebuilder:object:root=true
type LimaVMList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []LimaVM `json:"items"`
}
