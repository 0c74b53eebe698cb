package v1alpha1

// Types of the conditions of a LimaVM.
const (
	// ConditionCreated tells whether the instance exists on disk.
	ConditionCreated = "Created"
	// ConditionRunning tells whether the guest has booted and answers over ssh.
	ConditionRunning = "Running"
	// ConditionDegraded tells that the VM runs, but that something that its user asked for does not work.
	ConditionDegraded = "Degraded"
)

// Reasons of the condition Created.
const (
	ReasonPending      = "Pending"      // Unknown: seen, creation not yet tried, or under way
	ReasonCreateFailed = "CreateFailed" // False: the message has the cause
	ReasonCreated      = "Created"      // True
	ReasonDeleting     = "Deleting"     // False: the instance is being removed, or is removed already
)

// Reasons of the condition Running.
const (
	ReasonReconciling = "Reconciling" // Unknown: the daemon has just started and is verifying
	ReasonStarting    = "Starting"    // False
	ReasonStopping    = "Stopping"    // False
	ReasonStopped     = "Stopped"     // False
	ReasonStartFailed = "StartFailed" // False: the message has the cause, and when the next attempt is due
	ReasonStopFailed  = "StopFailed"  // False: not even force ended it
	ReasonCrashed     = "Crashed"     // False: it ended by itself
	ReasonBackOff     = "BackOff"     // False: it ended by itself repeatedly; the message tells when the next attempt is due
	ReasonStarted     = "Started"     // True; also after adoption by another daemon
)

// Reasons of the condition Degraded.
const (
	ReasonHostAgentError  = "HostAgentError"  // True: the messages of the hostagent
	ReasonTemplateInvalid = "TemplateInvalid" // True: the template's latest content cannot be applied; the VM runs with the former
	ReasonHealthy         = "Healthy"         // False
	ReasonNotRunning      = "NotRunning"      // False
)

// Annotations by which a user asks for something once. The controller removes them when it has taken note. Their values do
// not matter.
const (
	// AnnotationRestart asks for one stop, and a start if spec.running.
	AnnotationRestart = Group + "/restartRequested"
	// AnnotationReset asks for the instance to be deleted and made anew from the same template. All data in it is lost.
	AnnotationReset = Group + "/resetRequested"
	// AnnotationForceStop asks to skip the grace period of the stop under way, or of the one that this same change of the
	// object brings about. It is removed, without effect, when nothing is to be stopped: a deletion by force deletes first,
	// and then annotates.
	AnnotationForceStop = Group + "/forceStop"
)

// Labels and finalizers.
const (
	// LabelTemplateConfigMap marks, with the value "true", the ConfigMap that holds the template of a LimaVM.
	LabelTemplateConfigMap = Group + "/template-configmap"
	// FinalizerCleanup keeps a LimaVM until its instance and its template are removed.
	FinalizerCleanup = "rdd.rancherdesktop.io/cleanup"
	// FinalizerTemplate keeps the template's ConfigMap for as long as its LimaVM exists.
	FinalizerTemplate = "rdd.rancherdesktop.io/owned-by-LimaVM"
)

const (
	// TemplateKey is the key of a ConfigMap that holds a Lima template.
	TemplateKey = "template"
	// TemplateSuffix is appended to a LimaVM's name to get the name of the ConfigMap that holds its template.
	TemplateSuffix = "-template"
)

// Reasons of the Events about a LimaVM.
const (
	EventCreated         = "Created"
	EventStarting        = "Starting"
	EventStarted         = "Started"
	EventAdopted         = "Adopted"
	EventStopping        = "Stopping"
	EventStopped         = "Stopped"
	EventForcedStop      = "ForcedStop"     // Warning
	EventCrashed         = "Crashed"        // Warning: exit status and last log lines
	EventBackOff         = "BackOff"        // Warning
	EventDegraded        = "Degraded"       // Warning
	EventForeignProcess  = "ForeignProcess" // Warning
	EventLeftoverRemoved = "LeftoverRemoved"
	EventLeftoverMoved   = "LeftoverMoved"
	EventInstanceLost    = "InstanceLost" // Warning: somebody has taken the instance's directory away
	EventTemplateApplied = "TemplateApplied"
)
