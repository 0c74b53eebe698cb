package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

func (a *app) listCommand() *cobra.Command {
	var f *format
	var namespace string
	var watched bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the VMs", Aliases: []string{"ls"}, Args: noVM,
		Example: "  rdd limavm list\n  rdd limavm list -w\n  rdd limavm list -o name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, _, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			var list v1alpha1.LimaVMList
			if err := api.List(cmd.Context(), &list, client.InNamespace(namespace)); err != nil {
				return fmt.Errorf("cannot list the VMs: %w", err)
			}
			if watched && f.output == "yaml" {
				return usagef("-w goes with -o table, -o json or -o name")
			}
			slices.SortFunc(list.Items, func(a, b v1alpha1.LimaVM) int { return strings.Compare(a.Name, b.Name) })
			if watched {
				return a.watchVMs(cmd.Context(), api, &list, namespace, f)
			}
			return a.printVMs(&list, f)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only this namespace")
	cmd.Flags().BoolVarP(&watched, "watch", "w", false, "go on with a line for each change")
	completeFlag(cmd, "namespace", a.completeNamespaces)
	f = formatFlags(cmd, "table", "json", "yaml", "name")
	return cmd
}

// noVM refuses the name of a VM, for which there is another command.
func noVM(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments; \"rdd limavm status %s\" shows one VM", cmd.Name(), args[0])
	}
	return nil
}

func (a *app) printVMs(list *v1alpha1.LimaVMList, f *format) error {
	switch f.output {
	case "json", "yaml":
		list.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind("LimaVMList"))
		for i := range list.Items {
			list.Items[i].SetGroupVersionKind(v1alpha1.GroupVersion().WithKind("LimaVM"))
			list.Items[i].ManagedFields = nil
		}
		if list.Items == nil {
			list.Items = []v1alpha1.LimaVM{}
		}
		return f.data(a.Stdout, list)
	case "name":
		for i := range list.Items {
			if _, err := fmt.Fprintln(a.Stdout, list.Items[i].Name); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list.Items) == 0 {
		a.note("There are no VMs; \"rdd up\" makes one.")
		return nil
	}
	rows := [][]string{vmHeader()}
	for i := range list.Items {
		rows = append(rows, vmRow(&list.Items[i], time.Now()))
	}
	return f.table(a.Stdout, rows)
}

func vmHeader() []string {
	return []string{"NAME", "NAMESPACE", "PHASE", "AGE", "CPUS", "MEMORY", "DISK", "SSH", "MESSAGE"}
}

func vmRow(vm *v1alpha1.LimaVM, now time.Time) []string {
	row := []string{
		vm.Name, vm.Namespace, phaseOf(vm), duration.HumanDuration(now.Sub(vm.CreationTimestamp.Time)),
		"", "", "", "", messageOf(vm),
	}
	if made := vm.Status.Instance; made != nil {
		row[4] = strconv.Itoa(int(made.CPUs))
		if made.Memory != nil {
			row[5] = made.Memory.String()
		}
		if made.Disk != nil {
			row[6] = made.Disk.String()
		}
		if made.SSHPort != 0 {
			row[7] = "127.0.0.1:" + strconv.Itoa(int(made.SSHPort))
		}
	}
	for i, cell := range row[:len(row)-1] {
		if cell == "" {
			row[i] = "-"
		}
	}
	return row
}

// messageOf is what matters most about a VM: what it is doing, what is wrong, or nothing.
func messageOf(vm *v1alpha1.LimaVM) string {
	if p := vm.Status.Progress; p != nil {
		stage, percent := stageOf(vm)
		if percent >= 0 {
			return fmt.Sprintf("%s (%d%%)", stage, percent)
		}
		return stage
	}
	if trouble := troubleOf(vm); trouble != "" {
		return trouble
	}
	if c := meta.FindStatusCondition(vm.Status.Conditions, v1alpha1.ConditionDegraded); c != nil && c.Status == "True" {
		return "degraded: " + firstLine(c.Message)
	}
	return ""
}
