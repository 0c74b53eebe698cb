package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// pathsOf lists what scripts look for, in a fixed order.
func pathsOf(inst instance.Instance) [][2]string {
	return [][2]string{
		{"RDD_DIR", inst.Dir}, {"RDD_SHORT_DIR", inst.ShortDir}, {"RDD_LIMA_HOME", inst.LimaHome()}, {"RDD_LOG_DIR", inst.LogDir},
		{"RDD_TLS_DIR", inst.TLSDir()}, {"RDD_CONFIG", inst.Kubeconfig()}, {"RDD_PID_FILE", inst.PIDFile()},
		{"RDD_ARGS_FILE", inst.SettingsFile()},
	}
}

func (a *app) svcPathsCommand() *cobra.Command {
	var f *format
	cmd := &cobra.Command{
		Use: "paths [KEY]", Short: "Print where the files of this instance are", Args: cobra.MaximumNArgs(1),
		Example: "  rdd svc paths RDD_CONFIG\n  eval \"$(rdd svc paths -o shell)\"",
		RunE: func(_ *cobra.Command, args []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			paths := pathsOf(inst)
			if len(args) == 0 {
				return a.printPaths(paths, f)
			}
			path, err := pathOf(paths, args[0])
			if err == nil && f.output == "table" {
				_, err = fmt.Fprintln(a.Stdout, path[1])
			} else if err == nil {
				err = a.printPaths([][2]string{path}, f)
			}
			return err
		},
	}
	f = formatFlags(cmd, "table", "json", "shell")
	return cmd
}

// pathOf is the one of that key, of which the beginning may be left out.
func pathOf(paths [][2]string, key string) ([2]string, error) {
	wanted := strings.ToUpper(key)
	if !strings.HasPrefix(wanted, "RDD_") {
		wanted = "RDD_" + wanted
	}
	var keys []string
	for _, path := range paths {
		if path[0] == wanted {
			return path, nil
		}
		keys = append(keys, path[0])
	}
	return [2]string{}, notFoundf("there is no path %q; there are %s", key, strings.Join(keys, ", "))
}

func (a *app) printPaths(paths [][2]string, f *format) error {
	values := map[string]string{}
	rows := [][]string{{"KEY", "PATH"}}
	var exports strings.Builder
	// What has a meaning within double quotes.
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
	for _, path := range paths {
		values[path[0]] = path[1]
		rows = append(rows, []string{path[0], path[1]})
		fmt.Fprintf(&exports, "export %s=\"%s\"\n", path[0], escape.Replace(path[1]))
	}
	switch f.output {
	case "json":
		return f.data(a.Stdout, values)
	case "shell":
		_, err := fmt.Fprint(a.Stdout, exports.String())
		return err
	}
	return f.table(a.Stdout, rows)
}
