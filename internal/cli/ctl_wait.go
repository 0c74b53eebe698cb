package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// conditionWait is what `ctl wait-condition` was asked for.
type conditionWait struct {
	kind, name, namespace     string
	condition, status, reason string
	since                     time.Time
}

func (a *app) waitConditionCommand() *cobra.Command {
	var c conditionWait
	var since string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "wait-condition TYPE/NAME CONDITION[=STATUS]", Short: "Wait until an object has a condition",
		Long: "Wait until an object has a condition: with a status (default: True), with a reason, and not older than a time.\n" +
			"\"--since startup\" does not count what was reported before the control plane started.",
		Example: "  rdd ctl wait-condition limavm/dev Running\n" +
			"  rdd ctl wait-condition limavm/dev Running=False --reason Stopped --timeout 1m",
		Args: func(_ *cobra.Command, args []string) error { return c.parse(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			if err := a.ensure(cmd.Context(), inst); err != nil {
				return err
			}
			if c.since, err = sinceTime(inst, since); err != nil {
				return err
			}
			return a.waitCondition(cmd.Context(), inst, &c, &waiting{timeout: timeout})
		},
		ValidArgsFunction: a.completeCondition,
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.namespace, "namespace", "n", "", "namespace of the object (default: \"default\"; VMs are found in any)")
	flags.StringVar(&c.reason, "reason", "", "the reason that the condition must have")
	flags.StringVar(&since, "since", "", "a time (2006-01-02T15:04:05Z), or \"startup\": what changed last before does not count")
	flags.DurationVar(&timeout, "timeout", vmTimeout, "how long to wait; 0 means without limit")
	completeFlag(cmd, "namespace", a.completeNamespaces)
	return cmd
}

func (c *conditionWait) parse(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("TYPE/NAME and a condition were expected, got %q", args)
	}
	var ok bool
	if c.kind, c.name, ok = strings.Cut(args[0], "/"); !ok || c.kind == "" || c.name == "" {
		return fmt.Errorf("TYPE/NAME was expected, got %q", args[0])
	}
	c.condition, c.status, ok = strings.Cut(args[1], "=")
	if !ok {
		c.status = string(metav1.ConditionTrue)
	}
	if c.condition == "" || c.status == "" {
		return fmt.Errorf("CONDITION or CONDITION=STATUS was expected, got %q", args[1])
	}
	known := []string{string(metav1.ConditionTrue), string(metav1.ConditionFalse), string(metav1.ConditionUnknown)}
	if !slices.ContainsFunc(known, func(status string) bool { return strings.EqualFold(status, c.status) }) {
		return fmt.Errorf("the status of a condition is one of %s, got %q", strings.Join(known, ", "), c.status)
	}
	return nil
}

// String is what is waited for.
func (c *conditionWait) String() string {
	wanted := fmt.Sprintf("the condition %s=%s", c.condition, c.status)
	if c.reason != "" {
		wanted += " with the reason " + c.reason
	}
	if !c.since.IsZero() {
		wanted += " since " + c.since.Format(time.RFC3339)
	}
	return wanted
}

// sinceTime is the time that --since means; conditions have whole seconds.
func sinceTime(inst instance.Instance, since string) (time.Time, error) {
	switch since {
	case "":
		return time.Time{}, nil
	case "startup":
		record, err := daemon.Find(inst)
		if err != nil || record == nil {
			return time.Time{}, errors.Join(err, errors.New("cannot tell when the control plane started: it has ended"))
		}
		return record.StartedAt.Truncate(time.Second), nil
	}
	t, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return t, usagef("--since %q is neither \"startup\" nor a time like 2006-01-02T15:04:05Z", since)
	}
	return t.Truncate(time.Second), nil
}

func (a *app) waitCondition(ctx context.Context, inst instance.Instance, c *conditionWait, w *waiting) error {
	objects, err := c.resource(inst)
	if err != nil {
		return err
	}
	waitCtx, cancel := w.context(ctx)
	defer cancel()
	last := "it does not report it"
	for {
		version, met, err := c.look(waitCtx, objects, &last)
		if err == nil && !met {
			met, err = c.watch(waitCtx, objects, version, &last)
		}
		switch {
		case met:
			_, err := fmt.Fprintf(a.Stdout, "%s/%s condition %s=%s met\n", c.kind, c.name, c.condition, c.status)
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted: %s/%s does not have %s yet (%s)", c.kind, c.name, c, last)
		case waitCtx.Err() != nil:
			return fmt.Errorf("%s/%s did not have %s within %s (%s): %w", c.kind, c.name, c, w.timeout, last, waitCtx.Err())
		case err != nil:
			return err
		}
	}
}

// resource finds out what the type means, and where the object is.
func (c *conditionWait) resource(inst instance.Instance) (dynamic.ResourceInterface, error) {
	config, err := credentials(inst)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the API client: %w", err)
	}
	finder, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the API client: %w", err)
	}
	cached := memory.NewMemCacheClient(finder)
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	full, resource := schema.ParseResourceArg(c.kind) // limavms.v1alpha1.lima.rancherdesktop.io, or without the version
	var found schema.GroupVersionResource
	if full != nil {
		found, err = mapper.ResourceFor(*full)
	}
	if full == nil || err != nil {
		found, err = mapper.ResourceFor(resource.WithVersion(""))
	}
	if err != nil && !meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("cannot tell what %q is: %w", c.kind, err)
	}
	if err != nil {
		return nil, notFoundf("the control plane has no type %q; \"rdd ctl api-resources\" lists those there are", c.kind)
	}
	switch {
	case c.namespace != "":
	case found.GroupResource() == v1alpha1.LimaVMResource().GroupResource():
		return objects.Resource(found), nil // names are unique: all namespaces are looked at
	default:
		c.namespace = metav1.NamespaceDefault
	}
	kind, err := mapper.KindFor(found)
	if err != nil {
		return nil, fmt.Errorf("cannot tell what %q is: %w", c.kind, err)
	}
	if mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version); err == nil && mapping.Scope.Name() == "root" {
		return objects.Resource(found), nil
	}
	return objects.Resource(found).Namespace(c.namespace), nil
}

// selection lists instead of getting: so the same works in one namespace and in all.
func (c *conditionWait) selection() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "metadata.name=" + c.name}
}

func (c *conditionWait) look(ctx context.Context, objects dynamic.ResourceInterface, last *string) (version string, met bool, err error) {
	list, err := objects.List(ctx, c.selection())
	if err != nil {
		return "", false, fmt.Errorf("cannot look for %s/%s: %w", c.kind, c.name, ctxError(ctx, err))
	}
	if len(list.Items) == 0 {
		return "", false, notFoundf("there is no %s %q; \"rdd ctl get %s -A\" shows those there are", c.kind, c.name, c.kind)
	}
	return list.GetResourceVersion(), c.met(&list.Items[0], last), nil
}

// watch looks at each later version, until the watch ends.
func (c *conditionWait) watch(ctx context.Context, objects dynamic.ResourceInterface, version string, last *string) (bool, error) {
	options := c.selection()
	options.ResourceVersion = version
	stream, err := objects.Watch(ctx, options)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot watch %s/%s: %w", c.kind, c.name, ctxError(ctx, err))
	}
	defer stream.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case event, open := <-stream.ResultChan():
			object, ok := event.Object.(*unstructured.Unstructured)
			if !open || !ok {
				return false, nil
			}
			if event.Type == "DELETED" {
				return false, notFoundf("%s/%s was deleted meanwhile", c.kind, c.name)
			}
			if c.met(object, last) {
				return true, nil
			}
		}
	}
}

// met looks for the condition in an object, and notes what there is instead.
func (c *conditionWait) met(object *unstructured.Unstructured, last *string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		fields, _ := entry.(map[string]any)
		text := func(key string) string { value, _ := fields[key].(string); return value }
		if !strings.EqualFold(text("type"), c.condition) {
			continue
		}
		*last = fmt.Sprintf("now: %s, %s", text("status"), text("reason"))
		changed, _ := time.Parse(time.RFC3339, text("lastTransitionTime"))
		observed, _, _ := unstructured.NestedInt64(fields, "observedGeneration")
		return strings.EqualFold(text("status"), c.status) && (c.reason == "" || text("reason") == c.reason) &&
			!changed.Before(c.since) && (observed == 0 || observed >= object.GetGeneration())
	}
	return false
}

// completeCondition completes TYPE/NAME for VMs, and then their conditions.
func (a *app) completeCondition(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		found, directive := a.completeVMs(0)(cmd, args, toComplete)
		for i := range found {
			found[i] = "limavm/" + found[i]
		}
		return found, directive
	case 1:
		return []string{
			v1alpha1.ConditionCreated, v1alpha1.ConditionRunning, v1alpha1.ConditionRunning + "=False",
			v1alpha1.ConditionDegraded, v1alpha1.ConditionDegraded + "=False",
		}, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
