package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/seed-192657fa/rdd/internal/bundle"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/datastore"
	"github.com/seed-192657fa/rdd/internal/doctor"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// bundleTime bounds what a bundle waits for answers of the API: it is made when these may not come.
const bundleTime = 20 * time.Second

func (a *app) supportBundleCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "support-bundle", Short: "Collect logs, objects, versions and what doctor finds in one file, without secrets", Args: cobra.NoArgs,
		Long: "Collect logs, objects, events, versions, paths, and what \"rdd doctor\" finds in one file, to be sent to whoever helps.\n\n" +
			"Secrets are removed: keys, tokens and passwords of this instance wherever they occur, and whatever looks like one. Names\n" +
			"of VMs, paths and templates are in it: have a look before you send it. Nothing is started, nothing is changed.",
		Example: "  rdd support-bundle\n  rdd support-bundle --file=bundle.tar.gz",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			now := time.Now()
			top := fmt.Sprintf("rdd-%s-%s", inst.Name, now.Format("20060102-150405"))
			switch {
			case file == "-" && a.isTerminal(a.Stdout):
				return usagef("a bundle is not for a terminal: --file=- goes with a pipe or a redirection")
			case file == "-":
				return a.writeBundle(cmd.Context(), inst, a.Stdout, top, now)
			case file == "":
				file = top + ".tar.gz"
			}
			if err := a.saveBundle(cmd.Context(), inst, file, top, now); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Stdout, file)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "where to write it, - for standard output (default: rdd-INSTANCE-TIME.tar.gz here)")
	return cmd
}

func (a *app) saveBundle(ctx context.Context, inst instance.Instance, file, top string, now time.Time) (err error) {
	target, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	defer func() {
		if err = errors.Join(err, target.Close()); err != nil {
			_ = os.Remove(file)
		}
	}()
	return a.writeBundle(ctx, inst, target, top, now)
}

func (a *app) writeBundle(ctx context.Context, inst instance.Instance, target io.Writer, top string, now time.Time) (err error) {
	objects, problem := readObjects(ctx, inst)
	redact := bundle.NewRedactor(append(secretsOf(objects), append(secretsOn(inst), a.secretsAround()...)...))
	w := bundle.NewWriter(target, top, now, redact)
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, add := range []func() error{
		func() error { return w.Add("versions.json", a.versions(inst)) },
		func() error { return w.Add("paths.json", encoded(mapOf(pathsOf(inst)))) },
		func() error { return w.AddFile("settings.json", inst.SettingsFile()) },
		func() error { return w.Add("doctor.json", a.findings(ctx)) },
		func() error { return addObjects(w, objects, problem) },
		func() error { return addLogs(w, inst) },
		func() error { return addVMs(w, inst) },
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

func encoded(value any) []byte {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return []byte(err.Error())
	}
	return append(text, '\n')
}

func mapOf(pairs [][2]string) map[string]string {
	values := map[string]string{}
	for _, pair := range pairs {
		values[pair[0]] = pair[1]
	}
	return values
}

func (a *app) versions(inst instance.Instance) []byte {
	versions := map[string]any{"rdd": a.Version, "cpus": runtime.NumCPU()}
	if build, ok := debug.ReadBuildInfo(); ok {
		versions["go"] = build.GoVersion
		for _, setting := range build.Settings {
			if setting.Key == "GOOS" || setting.Key == "GOARCH" {
				versions[setting.Key] = setting.Value
			}
		}
	}
	record, err := daemon.Find(inst)
	switch {
	case err != nil:
		versions["daemon"] = err.Error()
	case record != nil:
		versions["daemon"] = record
	}
	return encoded(versions)
}

func (a *app) findings(ctx context.Context) []byte {
	config, err := a.examination()
	if err != nil {
		return []byte(err.Error() + "\n")
	}
	return encoded(doctor.Examine(ctx, config))
}

// kinds are those of the objects that are taken, as the API has them.
func kinds() []schema.GroupVersionResource {
	core := schema.GroupVersion{Version: "v1"}
	rbac := schema.GroupVersion{Group: "rbac.authorization.k8s.io", Version: "v1"}
	return []schema.GroupVersionResource{
		{Group: "lima.rancherdesktop.io", Version: "v1alpha1", Resource: "limavms"},
		core.WithResource("configmaps"), core.WithResource("events"), core.WithResource("namespaces"), core.WithResource("secrets"),
		core.WithResource("serviceaccounts"), rbac.WithResource("clusterroles"), rbac.WithResource("clusterrolebindings"),
		rbac.WithResource("roles"), rbac.WithResource("rolebindings"),
		{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	}
}

// readObjects reads what the API tells, if it runs, by resource; problem tells what it did not.
func readObjects(ctx context.Context, inst instance.Instance) (objects map[string]*unstructured.UnstructuredList, problem error) {
	record, err := daemon.Find(inst)
	if err != nil || !record.Serves() {
		return nil, errors.Join(err, errors.New("the control plane does not serve, so there are no objects"))
	}
	config, err := credentials(inst)
	if err != nil {
		return nil, err
	}
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, bundleTime)
	defer cancel()
	objects = map[string]*unstructured.UnstructuredList{}
	var problems []error
	for _, kind := range kinds() {
		list, err := api.Resource(kind).List(ctx, listAll())
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", kind.Resource, err))
			continue
		}
		objects[kind.Resource] = list
	}
	return objects, errors.Join(problems...)
}

// addObjects adds a file per resource. What secrets hold is left out, but for the names of their keys.
func addObjects(w *bundle.Writer, objects map[string]*unstructured.UnstructuredList, problem error) error {
	for resource, list := range objects {
		for i := range list.Items {
			item := &list.Items[i]
			unstructured.RemoveNestedField(item.Object, "metadata", "managedFields")
			if resource == "secrets" {
				hide(item.Object, "data")
				unstructured.RemoveNestedField(item.Object, "metadata", "annotations") // the last applied configuration has it all again
			}
		}
		text, err := yaml.Marshal(list)
		if err != nil {
			text = []byte(err.Error())
		}
		if err := w.Add("objects/"+resource+".yaml", text); err != nil {
			return err
		}
	}
	if problem == nil {
		return nil
	}
	return w.Add("objects/errors.txt", []byte(problem.Error()+"\n"))
}

func hide(object map[string]any, field string) {
	values, _, _ := unstructured.NestedMap(object, field)
	for key := range values {
		values[key] = bundle.Removed
	}
	if len(values) > 0 {
		object[field] = values
	}
}

func addLogs(w *bundle.Writer, inst instance.Instance) error {
	files, err := daemon.LogFiles(inst)
	if err != nil {
		return w.Add("logs/errors.txt", []byte(err.Error()+"\n"))
	}
	for _, file := range files {
		if err := w.AddFile("logs/"+filepath.Base(file), file); err != nil {
			return err
		}
	}
	return nil
}

// addVMs adds what Lima and rdd have written about each VM: no disks, no keys.
func addVMs(w *bundle.Writer, inst instance.Instance) error {
	records := filepath.Base(inst.Records()) + "/" + filepath.Base(inst.RecordDir("*"))
	for _, pattern := range []string{
		"[a-z0-9]*/*.log", "[a-z0-9]*/lima.yaml", records + "/*.log", records + "/*.json", "_config/" + filepath.Base(inst.LimaDefaults()),
	} {
		for _, file := range matching(inst.LimaHome(), pattern) {
			name, err := filepath.Rel(inst.LimaHome(), file)
			if err != nil {
				return err
			}
			if info, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
				continue
			}
			if err := w.AddFile("vms/"+filepath.ToSlash(name), file); err != nil {
				return err
			}
		}
	}
	return nil
}

// matching lists the files below a directory, which may have brackets in its name.
func matching(dir, pattern string) (files []string) {
	names, _ := fs.Glob(os.DirFS(dir), pattern) // the patterns are well-formed
	for _, name := range names {
		files = append(files, filepath.Join(dir, filepath.FromSlash(name)))
	}
	return files
}

// secretsOn are the secrets in this instance's files.
func secretsOn(inst instance.Instance) (values []string) {
	for _, file := range slices.Concat(
		matching(inst.TLSDir(), "*.key"), matching(inst.Dir, "*.token"),
		matching(inst.LimaHome(), "_config/user"), matching(inst.LimaHome(), "_config/*.key"),
	) {
		if content, err := os.ReadFile(file); err == nil { // else the patterns of the Redactor are left
			values = append(values, string(content))
		}
	}
	if kubeconfig, err := clientcmd.LoadFromFile(inst.Kubeconfig()); err == nil {
		for _, user := range kubeconfig.AuthInfos {
			values = append(values, string(user.ClientKeyData), user.Token, user.Password)
		}
	}
	if settings, _, err := daemon.LoadSettings(inst); err == nil {
		values = append(values, datastore.Passwords(settings.DatastoreEndpoint)...)
	}
	return values
}

// secretsAround are those that the environment holds.
func (a *app) secretsAround() (values []string) {
	for _, pair := range a.Environ {
		if name, value, _ := strings.Cut(pair, "="); bundle.LooksSecret(name) {
			values = append(values, value)
		}
	}
	return values
}
