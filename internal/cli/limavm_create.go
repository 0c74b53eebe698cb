package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/template"
)

// vmTimeout is how long an operation on a VM is awaited.
const vmTimeout = 5 * time.Minute

// cleanupTimeout bounds what is undone after a failure.
const cleanupTimeout = 10 * time.Second

// creation is what `limavm create` was asked for.
type creation struct {
	name, source, namespace string
	cpus                    int
	memory, disk            string
	sets                    []string
	params                  map[string]string
	start, dryRun           bool
}

func (a *app) createCommand() *cobra.Command {
	var c creation
	var w *waiting
	cmd := &cobra.Command{
		Use: "create NAME [TEMPLATE]", Short: "Make a VM from a template",
		Long: "Make a VM from a template: the name of a ConfigMap, a file, a URL, \"-\" for stdin, or one of those built in:\n" +
			"template:" + strings.Join(template.Builtin(), ", template:") + ".",
		Example: "  rdd limavm create dev template:debian --cpus 2 --memory 8GiB --start\n" +
			"  rdd limavm create dev ./dev.yaml --set '.ssh.forwardAgent = true'",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 {
				return fmt.Errorf("a name and a template were expected, got %q", args)
			}
			return names(cmd, args[:min(1, len(args))])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c.name, c.source = args[0], "template:"+template.Default
			if len(args) == 2 {
				c.source = args[1]
			}
			if len(args) == 2 && c.source == "" {
				return usagef("the template is empty: a file, a URL, a ConfigMap or \"template:NAME\" was expected")
			}
			if err := c.checkSizes(cmd); err != nil {
				return err
			}
			return a.create(cmd.Context(), &c, w)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.namespace, "namespace", "n", metav1.NamespaceDefault, "namespace of the VM")
	flags.BoolVar(&c.start, "start", false, "start it, too")
	flags.IntVar(&c.cpus, "cpus", 0, "number of virtual CPUs")
	flags.StringVar(&c.memory, "memory", "", "memory: 2GiB")
	flags.StringVar(&c.disk, "disk", "", "size of the disk: 20GiB")
	flags.StringArrayVar(&c.sets, "set", nil, "yq expression that changes the template; may be repeated")
	flags.StringToStringVar(&c.params, "param", nil, "value of a parameter of the template: KEY=VALUE; may be repeated")
	flags.BoolVar(&c.dryRun, "dry-run", false, "check everything, make nothing")
	w = waitFlags(cmd, vmTimeout)
	cmd.ValidArgsFunction = a.completeTemplate
	completeFlag(cmd, "namespace", a.completeNamespaces)
	return cmd
}

// checkSizes refuses what the template would not tell from what was meant.
func (c *creation) checkSizes(cmd *cobra.Command) error {
	if cmd.Flags().Changed("cpus") && c.cpus < 1 {
		return usagef("--cpus must be at least 1, not %d", c.cpus)
	}
	// Of so many digits and no unit, GiB are meant; of more, MiB.
	for _, size := range []struct {
		flag, value string
		digits      int
	}{{"memory", c.memory, 2}, {"disk", c.disk, 3}} {
		switch {
		case !cmd.Flags().Changed(size.flag), strings.Trim(size.value, "0123456789.") != "":
		case strings.Trim(size.value, "0.") == "":
			return usagef("--%s must be a size such as 2GiB, not %q", size.flag, size.value)
		case len(size.value) > size.digits:
			return usagef("--%s %s would be bytes; did you mean %sMiB?", size.flag, size.value, size.value)
		default:
			return usagef("--%s %s would be bytes; did you mean %sGiB?", size.flag, size.value, size.value)
		}
	}
	return nil
}

func (a *app) create(ctx context.Context, c *creation, w *waiting) error {
	if err := newName(c.name); err != nil {
		return err
	}
	reading, cancel := w.context(ctx)
	content, err := a.readTemplate(reading, c)
	if err != nil && ctx.Err() == nil && errors.Is(ctxError(reading, err), context.DeadlineExceeded) {
		err = fmt.Errorf("template %s was not read within %s: %w", c.source, w.timeout, context.DeadlineExceeded)
	}
	cancel()
	if err != nil {
		return err
	}
	api, _, err := a.client(ctx)
	if err != nil {
		return err
	}
	vm := c.object()
	if content == nil {
		err = c.fromConfigMap(ctx, api, vm)
	} else {
		err = c.fromTemplate(ctx, api, vm, content)
	}
	if err != nil {
		return err
	}
	if c.dryRun {
		return done(a.Stdout, vm.Name, "could be created (dry run)")
	}
	if !w.wait {
		return done(a.Stdout, vm.Name, "will be created")
	}
	if c.start {
		return a.awaitRunning(ctx, api, vm, w)
	}
	if err := a.await(ctx, api, vm, w, goal{"being created", created}); err != nil {
		return err
	}
	return done(a.Stdout, vm.Name, "is created; \"rdd limavm start "+vm.Name+"\" starts it")
}

// objectName is what a VM may be called. Admission judges the length, too, which depends on the directories.
var objectName = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)

// newName judges a name ahead of the ConfigMap that is made by it, and would be refused with an expression to match.
func newName(name string) error {
	if objectName.MatchString(name) {
		return nil
	}
	return &refusedError{fmt.Errorf("the name %q is not valid: lower-case letters and digits, with single dots or dashes in between", name)}
}

// readTemplate returns the complete template, or nil where the source is a ConfigMap.
func (a *app) readTemplate(ctx context.Context, c *creation) ([]byte, error) {
	if isConfigMap(c.source) {
		if c.cpus != 0 || c.memory != "" || c.disk != "" || len(c.sets) > 0 {
			return nil, usagef("--cpus, --memory, --disk and --set change a template that is read; %q is a ConfigMap: edit that instead", c.source)
		}
		return nil, nil
	}
	inst, err := a.instance()
	if err != nil {
		return nil, err
	}
	builtin, err := os.MkdirTemp("", "rdd-templates")
	if err != nil {
		return nil, fmt.Errorf("cannot unpack the built-in templates: %w", err)
	}
	defer os.RemoveAll(builtin)
	if err := template.Unpack(builtin); err != nil {
		return nil, err
	}
	// Lima mixes its configuration directory into what it reads: that of this instance, not that of limactl. And it looks for
	// "base: template:NAME" in directories.
	if err := setenv(map[string]string{"LIMA_HOME": inst.LimaHome(), "LIMA_TEMPLATES_PATH": builtin}); err != nil {
		return nil, err
	}
	content, err := template.Read(ctx, c.source, a.Stdin, c.expressions())
	if err != nil {
		return nil, &sourceError{err}
	}
	return content, nil
}

// isConfigMap tells the name of a ConfigMap from a file name: that has a separator or an extension.
func isConfigMap(source string) bool {
	return source != "-" && !strings.ContainsAny(source, `/\:`) && filepath.Ext(source) == ""
}

func (c *creation) expressions() []string {
	var result []string
	if c.cpus != 0 {
		result = append(result, fmt.Sprintf(".cpus = %d", c.cpus))
	}
	if c.memory != "" {
		result = append(result, fmt.Sprintf(".memory = %q", c.memory))
	}
	if c.disk != "" {
		result = append(result, fmt.Sprintf(".disk = %q", c.disk))
	}
	return append(result, c.sets...)
}

func (c *creation) object() *v1alpha1.LimaVM {
	return &v1alpha1.LimaVM{
		ObjectMeta: metav1.ObjectMeta{Name: c.name, Namespace: c.namespace},
		Spec: v1alpha1.LimaVMSpec{
			TemplateRef: v1alpha1.TemplateReference{Name: c.name},
			Running:     c.start,
			Params:      c.params,
		},
	}
}

func (c *creation) dryRunOption() []client.CreateOption {
	if c.dryRun {
		return []client.CreateOption{client.DryRunAll}
	}
	return nil
}

func (c *creation) fromConfigMap(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM) error {
	key := client.ObjectKey{Namespace: c.namespace, Name: c.source}
	err := api.Get(ctx, key, &corev1.ConfigMap{})
	if apierrors.IsNotFound(err) {
		return notFoundf("there is no ConfigMap %q in namespace %q; a file has an extension or a slash in its name, and a built-in template is called \"template:NAME\"", c.source, c.namespace)
	}
	if err != nil {
		return fmt.Errorf("cannot look for ConfigMap %q: %w", c.source, err)
	}
	vm.Spec.TemplateRef.Name = c.source
	return api.Create(ctx, vm, c.dryRunOption()...)
}

// fromTemplate makes a ConfigMap of the VM's name, and hands it over to the VM; where that is refused, it is removed again.
func (c *creation) fromTemplate(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM, content []byte) error {
	if err := checkTemplate(content, c.params); err != nil {
		return &refusedError{fmt.Errorf("template %s is not valid: %w", c.source, err)}
	}
	if err := c.nameIsFree(ctx, api); err != nil {
		return err
	}
	config := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: c.name, Namespace: c.namespace},
		Data:       map[string]string{v1alpha1.TemplateKey: string(content)},
	}
	if err := c.createConfig(ctx, api, config); err != nil {
		return err
	}
	if c.dryRun {
		return tryVM(ctx, api, vm)
	}
	if err := api.Create(ctx, vm); err != nil {
		return errors.Join(err, undo(ctx, api, config))
	}
	return handOver(ctx, api, config, vm)
}

// createConfig makes the ConfigMap of a VM. That of a former VM of the name is in the way until it is collected, which takes a while.
func (c *creation) createConfig(ctx context.Context, api client.Client, config *corev1.ConfigMap) error {
	err := api.Create(ctx, config, c.dryRunOption()...)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	existing := &corev1.ConfigMap{}
	if err := api.Get(ctx, client.ObjectKeyFromObject(config), existing); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot look for ConfigMap %q: %w", c.name, err)
	}
	owner := metav1.GetControllerOf(existing)
	switch {
	case existing.UID != "" && (owner == nil || owner.Kind != v1alpha1.LimaVMKind().Kind || owner.Name != c.name):
		return &refusedError{fmt.Errorf("ConfigMap %q already exists in namespace %q: to use it as the template, say \"rdd limavm create %s %s\"; otherwise choose another name", c.name, c.namespace, c.name, c.name)}
	case c.dryRun:
		return nil
	case existing.UID != "":
		if err := client.IgnoreNotFound(api.Delete(ctx, existing, client.Preconditions{UID: &existing.UID})); err != nil {
			return fmt.Errorf("cannot remove ConfigMap %q of the former VM: %w", c.name, err)
		}
	}
	return api.Create(ctx, config)
}

// checkTemplate tells what the control plane would have against a template with the parameters of a VM.
func checkTemplate(content []byte, params map[string]string) error {
	if len(content) > template.MaxStored {
		return fmt.Errorf("it has %d bytes, and the control plane stores at most %d", len(content), template.MaxStored)
	}
	merged, err := template.MergeParams(content, params)
	if err != nil {
		return err
	}
	return template.Validate(merged)
}

// tryVM has the control plane judge a VM whose template was judged here. That its ConfigMap is missing, as in every dry run, is what
// admission looks at last.
func tryVM(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM) error {
	err := api.Create(ctx, vm, client.DryRunAll)
	if cause, ok := apierrors.StatusCause(err, metav1.CauseTypeFieldValueInvalid); ok && cause.Field == "spec.templateRef" {
		return nil
	}
	return err
}

// nameIsFree asks ahead of admission, so that a name in use is told before anything is made.
func (c *creation) nameIsFree(ctx context.Context, api client.Client) error {
	existing, err := findVM(ctx, api, c.name)
	if is[*notFoundError](err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !existing.DeletionTimestamp.IsZero() {
		return beingDeleted(c.name)
	}
	if existing.Namespace == c.namespace {
		return &refusedError{fmt.Errorf("VM %q already exists; \"rdd limavm start %s\" starts it", c.name, c.name)}
	}
	return &refusedError{fmt.Errorf("the name %q is already used in namespace %q: the names of VMs are unique across all namespaces", c.name, existing.Namespace)}
}

func undo(ctx context.Context, api client.Client, config *corev1.ConfigMap) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := client.IgnoreNotFound(api.Delete(ctx, config, client.Preconditions{UID: &config.UID})); err != nil {
		return fmt.Errorf("ConfigMap %q is left behind: %w", config.Name, err)
	}
	return nil
}

// handOver makes the ConfigMap go when the VM does.
func handOver(ctx context.Context, api client.Client, config *corev1.ConfigMap, vm *v1alpha1.LimaVM) error {
	before := config.DeepCopy()
	config.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(vm, v1alpha1.GroupVersion().WithKind("LimaVM"))}
	if err := api.Patch(ctx, config, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("VM %q is made, but ConfigMap %q will stay when it goes: %w", vm.Name, config.Name, err)
	}
	return nil
}
