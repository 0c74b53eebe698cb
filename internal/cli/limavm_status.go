package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// vmStatus is what `limavm status` prints.
type vmStatus struct {
	VM      *v1alpha1.LimaVM `json:"vm"`
	Failure *vmFailure       `json:"failure,omitempty"`
	Events  []corev1.Event   `json:"events"`
}

// vmFailure is why a VM is not as it should be.
type vmFailure struct {
	Reason string `json:"reason"`
	Cause  string `json:"cause"`
	// Evidence are the last lines of the log, where they are known.
	Evidence []string `json:"evidence,omitempty"`
	// Remedy is what to try.
	Remedy string `json:"remedy"`
}

// recentEvents is how many events a status shows.
const recentEvents = 8

func (a *app) statusCommand() *cobra.Command {
	var f *format
	cmd := &cobra.Command{
		Use: "status NAME", Short: "Show one VM in depth: conditions, progress, recent events, what is wrong and what to do", Args: oneName,
		Example:           "  rdd limavm status dev\n  rdd limavm status dev -o json",
		ValidArgsFunction: a.completeVMs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			status, err := a.vmStatus(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if f.output != "table" {
				return f.data(a.Stdout, status)
			}
			return status.print(a.Stdout, time.Now())
		},
	}
	f = formatFlags(cmd, "table", "json", "yaml")
	return cmd
}

func (a *app) vmStatus(ctx context.Context, name string) (*vmStatus, error) {
	api, _, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	vm, err := findVM(ctx, api, name)
	if err != nil {
		return nil, err
	}
	events, _, err := listEvents(ctx, api, vm)
	if err != nil {
		return nil, err
	}
	vm.SetGroupVersionKind(v1alpha1.LimaVMKind())
	vm.ManagedFields = nil
	return &vmStatus{VM: vm, Failure: failureIn(vm), Events: events[max(0, len(events)-recentEvents):]}, nil
}

// failureIn takes the message of a failed VM apart: its first line is the cause, the rest evidence.
func failureIn(vm *v1alpha1.LimaVM) *vmFailure {
	condition := failureOf(vm)
	if condition == nil {
		return nil
	}
	lines := strings.Split(condition.Message, "\n")
	failure := &vmFailure{Reason: condition.Reason, Cause: lines[0], Remedy: remedy(condition.Reason, vm.Name)}
	for _, line := range lines[1:] {
		if strings.HasPrefix(line, "  ") {
			failure.Evidence = append(failure.Evidence, strings.TrimSpace(line))
		}
	}
	return failure
}

// remedy is what to try after a failure.
func remedy(reason, name string) string {
	switch reason {
	case v1alpha1.ReasonCreateFailed:
		return fmt.Sprintf(`mend the cause, or change the template with "rdd limavm edit %s": it is tried again by itself`, name)
	case v1alpha1.ReasonStopFailed:
		return fmt.Sprintf(`"rdd limavm stop %s --force" ends it at once`, name)
	}
	return fmt.Sprintf(`"rdd limavm logs %s" and "rdd limavm logs %s --serial" show more; "rdd limavm restart %s" tries again at once`, name, name, name)
}

func (s *vmStatus) print(w io.Writer, now time.Time) error {
	age := func(t metav1.Time) string {
		if t.IsZero() {
			return "-"
		}
		return duration.HumanDuration(now.Sub(t.Time))
	}
	f := &format{noHeaders: true}
	rows := [][]string{{"", ""}}
	for _, fact := range s.facts(age) {
		if fact[1] != "" {
			rows = append(rows, fact)
		}
	}
	if err := f.table(w, rows); err != nil {
		return err
	}
	if failure := s.Failure; failure != nil {
		fmt.Fprintf(w, "\nWhat is wrong (%s):\n  %s\n", failure.Reason, failure.Cause)
		for _, line := range failure.Evidence {
			fmt.Fprintf(w, "  | %s\n", line)
		}
		fmt.Fprintf(w, "What to do:\n  %s\n", failure.Remedy)
	}
	fmt.Fprint(w, "\nConditions:\n")
	rows = [][]string{{"  TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}}
	for _, c := range s.VM.Status.Conditions {
		rows = append(rows, []string{"  " + c.Type, string(c.Status), c.Reason, age(c.LastTransitionTime), firstLine(c.Message)})
	}
	f.noHeaders = false
	if err := f.table(w, rows); err != nil || len(s.Events) == 0 {
		return err
	}
	fmt.Fprint(w, "\nRecent events:\n")
	rows = [][]string{{"  AGE", "TYPE", "REASON", "MESSAGE"}}
	for _, e := range s.Events {
		rows = append(rows, []string{"  " + age(e.LastTimestamp), e.Type, e.Reason, firstLine(e.Message)})
	}
	return f.table(w, rows)
}

// facts are the rows of the first block; those without a value are left out.
func (s *vmStatus) facts(age func(metav1.Time) string) [][]string {
	vm, status := s.VM, s.VM.Status
	wanted := "stopped"
	if vm.Spec.Running {
		wanted = "running"
	}
	row := vmRow(vm, time.Time{})
	facts := [][]string{
		{"Name:", vm.Name}, {"Namespace:", vm.Namespace}, {"Phase:", phaseOf(vm)}, {"Wanted:", wanted},
		{"Age:", age(vm.CreationTimestamp)}, {"Started:", counted(int(status.RestartCount), "time")},
	}
	if made := status.Instance; made != nil {
		facts = append(facts,
			[]string{"Made of:", fmt.Sprintf("%s, %s, %s CPUs, %s memory, %s disk", made.VMType, made.Arch, row[4], row[5], row[6])},
			[]string{"Directory:", made.Directory}, []string{"SSH:", strings.Trim(row[7], "-")})
	}
	if host := status.Host; host != nil {
		text := fmt.Sprintf("hostagent %d", host.PID)
		if host.DriverPID != 0 && host.DriverPID != host.PID {
			text += ", driver " + strconv.Itoa(int(host.DriverPID))
		}
		if host.StartTime != nil {
			text += ", for " + age(*host.StartTime)
		}
		if host.Adopted {
			text += ", taken over from an earlier control plane"
		}
		facts = append(facts, []string{"Processes:", text})
	}
	facts = append(facts, []string{"Template:", templateOf(vm)})
	var params []string
	for _, name := range slices.Sorted(maps.Keys(vm.Spec.Params)) {
		params = append(params, name+"="+vm.Spec.Params[name])
	}
	facts = append(facts, []string{"Params:", strings.Join(params, " ")})
	if p := status.Progress; p != nil {
		facts = append(facts, []string{"Progress:", strings.TrimSuffix(messageOf(vm)+"; "+p.Message, "; ")})
	}
	return facts
}

func templateOf(vm *v1alpha1.LimaVM) string {
	if vm.Status.TemplateConfigMap == "" {
		return ""
	}
	return "ConfigMap " + vm.Status.TemplateConfigMap
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
