package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubectl/pkg/cmd/util/editor"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/template"
)

func (a *app) editCommand() *cobra.Command {
	var w *waiting
	var file string
	cmd := &cobra.Command{
		Use: "edit NAME", Short: "Change a VM's template in your editor; a running VM is restarted with it", Args: oneName,
		Long: "Change a VM's template in your editor ($VISUAL or $EDITOR); a running VM is restarted with it.\n" +
			"What is not valid is refused before anything changes, and your text is kept in a file.",
		Example:           "  rdd limavm edit dev\n  rdd limavm edit dev --file dev.yaml",
		ValidArgsFunction: a.completeVMs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, inst, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			// Lima mixes its configuration directory into what it checks: that of this instance, not that of limactl.
			if err := setenv(map[string]string{"LIMA_HOME": inst.LimaHome()}); err != nil {
				return err
			}
			return a.edit(cmd.Context(), api, args[0], file, w)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "take the template from a file, or \"-\" for stdin, instead of an editor")
	w = waitFlags(cmd, vmTimeout)
	return cmd
}

func (a *app) edit(ctx context.Context, api client.WithWatch, name, file string, w *waiting) error {
	vm, err := livingVM(ctx, api, name)
	if err != nil {
		return err
	}
	config, err := templateConfig(ctx, api, vm)
	if err != nil {
		return err
	}
	old := config.Data[v1alpha1.TemplateKey]
	text, path, err := a.edited(name, old, file)
	if err != nil {
		return err
	}
	if string(text) == old {
		removeIfOurs(path)
		return done(a.Stdout, name, "is not changed")
	}
	before, err := sendTemplate(ctx, api, vm, config, text)
	if err != nil {
		if path != "" {
			err = fmt.Errorf("%w; your text is kept in %s: mend it, and say \"rdd limavm edit %s --file %s\"", err, path, name, path)
		}
		return err
	}
	removeIfOurs(path)
	if !w.wait {
		return done(a.Stdout, name, "will get the changed template")
	}
	former := failureOf(before)
	stale := former != nil && former.Reason != v1alpha1.ReasonStopFailed
	pending := func(now *v1alpha1.LimaVM) bool { // it goes before this template is tried, but may be worded anew until then
		stale = stale && failureOf(now) != nil
		return stale
	}
	applied := func(now *v1alpha1.LimaVM) bool {
		return hasTemplate(now, config.ResourceVersion) && settled(now)
	}
	if err := a.await(ctx, api, before, w, goal{"getting the changed template", afterwards(before, "change", pending, applied)}); err != nil {
		return err
	}
	return done(a.Stdout, name, "has the changed template")
}

// templateConfig is the ConfigMap that holds a VM's template.
func templateConfig(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM) (*corev1.ConfigMap, error) {
	config := &corev1.ConfigMap{}
	if err := api.Get(ctx, client.ObjectKey{Namespace: vm.Namespace, Name: vm.TemplateConfigMapName()}, config); err != nil {
		return nil, fmt.Errorf("cannot read the template of VM %q: %w", vm.Name, err)
	}
	return config, nil
}

// edited is the new text, and the temporary file with it where it comes from an editor.
func (a *app) edited(name, old, file string) (text []byte, path string, err error) {
	switch file {
	case "":
	case "-":
		text, err = io.ReadAll(io.LimitReader(a.Stdin, template.MaxSize))
		return text, "", err
	default:
		if text, err = os.ReadFile(file); err != nil {
			err = &sourceError{fmt.Errorf("cannot read the template: %w", err)}
		}
		return text, "", err
	}
	text, path, err = editor.NewDefaultEditor([]string{"VISUAL", "EDITOR"}).LaunchTempFile("rdd-"+name+"-", ".yaml", bytes.NewBufferString(old))
	if err == nil || path == "" {
		return text, path, err
	}
	err = fmt.Errorf("cannot edit the template of VM %q: %w", name, err)
	if typed, readErr := os.ReadFile(path); readErr != nil || string(typed) == old {
		removeIfOurs(path)
		return nil, "", err
	}
	return nil, path, fmt.Errorf("%w; your text is kept in %s", err, path)
}

func removeIfOurs(path string) {
	if path != "" {
		_ = os.Remove(path)
	}
}

// sendTemplate checks a template, and stores it unless somebody else has changed it meanwhile. The result is the VM as it was right
// before, for an editor may have been open for long: what has failed until then is not of this template, and all else may be.
func sendTemplate(ctx context.Context, api client.Client, vm *v1alpha1.LimaVM, config *corev1.ConfigMap, text []byte) (before *v1alpha1.LimaVM, err error) {
	err = checkTemplate(text, vm.Spec.Params)
	if len(bytes.TrimSpace(text)) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, &refusedError{fmt.Errorf("the template is not valid, and nothing has changed: %w", err)}
	}
	if before, err = livingVM(ctx, api, vm.Name); err != nil {
		return nil, fmt.Errorf("nothing has changed: %w", err)
	}
	config.Data = map[string]string{v1alpha1.TemplateKey: string(text)}
	if err := api.Update(ctx, config); err != nil {
		return nil, fmt.Errorf("nothing has changed: %w", err)
	}
	return before, nil
}
