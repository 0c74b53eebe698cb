package cli

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
)

// sample is a VM in some state, as the control plane reports it.
func sample(name string, phase v1alpha1.Phase, conditions ...metav1.Condition) *v1alpha1.LimaVM {
	vm := &v1alpha1.LimaVM{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "default", Generation: 2, CreationTimestamp: metav1.NewTime(time.Now().Add(-90 * time.Minute)),
	}}
	vm.Status.Phase = phase
	for _, c := range conditions {
		c.ObservedGeneration = 2
		vm.Status.Conditions = append(vm.Status.Conditions, c)
	}
	return vm
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

func made(vm *v1alpha1.LimaVM) *v1alpha1.LimaVM {
	vm.Status.Instance = &v1alpha1.InstanceStatus{CPUs: 4, Memory: ptr.To(resource.MustParse("4Gi")), Disk: ptr.To(resource.MustParse("100Gi")), SSHPort: 60022}
	return vm
}

func TestGoldenList(t *testing.T) {
	booting := sample("booting", v1alpha1.PhaseStarting)
	booting.Status.Progress = &v1alpha1.ProgressStatus{Stage: "Downloading the image", Percent: ptr.To[int32](28)}
	degraded := made(sample("degraded", v1alpha1.PhaseRunning, condition(v1alpha1.ConditionDegraded, "True", "HostAgentError", "port 80 is taken\nmore")))
	failed := sample("failed", v1alpha1.PhaseFailed, condition(v1alpha1.ConditionCreated, "False", v1alpha1.ReasonCreateFailed, "no space left on device\nlast lines of the log:\n  x"))
	list := &v1alpha1.LimaVMList{Items: []v1alpha1.LimaVM{*booting, *degraded, *failed, *sample("new", "")}}
	var out strings.Builder
	for _, f := range []*format{{output: "table"}, {output: "table", noHeaders: true}, {output: "name"}} {
		var stdout bytes.Buffer
		a := &app{Config: Config{Stdout: &stdout, Stderr: &stdout}}
		if err := a.printVMs(list.DeepCopy(), f); err != nil {
			t.Fatal(err)
		}
		out.WriteString("-o " + f.output + "\n" + stdout.String())
	}
	golden(t, "list", out.String())
	var stdout, stderr bytes.Buffer
	a := &app{Config: Config{Stdout: &stdout, Stderr: &stderr}}
	if err := a.printVMs(&v1alpha1.LimaVMList{}, &format{output: "json"}); err != nil || !strings.Contains(stdout.String(), `"items": []`) {
		t.Errorf("an empty list as JSON: %s, %v", stdout.String(), err)
	}
}

func TestGoals(t *testing.T) {
	createFailed := condition(v1alpha1.ConditionCreated, "False", v1alpha1.ReasonCreateFailed, "no disk\nlog")
	isCreated := condition(v1alpha1.ConditionCreated, "True", v1alpha1.ReasonCreated, "")
	run := func(status metav1.ConditionStatus, reason string) metav1.Condition {
		return condition(v1alpha1.ConditionRunning, status, reason, "because\nlog")
	}
	wanted := func(vm *v1alpha1.LimaVM) *v1alpha1.LimaVM { vm.Spec.Running = true; return vm }
	old := func(vm *v1alpha1.LimaVM) *v1alpha1.LimaVM { vm.Generation = 3; return vm }
	for name, c := range map[string]struct {
		goal func(*v1alpha1.LimaVM) (bool, error)
		vm   *v1alpha1.LimaVM
		done bool
		err  string
	}{
		"created: not yet":              {created, sample("x", ""), false, ""},
		"created: yes":                  {created, sample("x", "", isCreated), true, ""},
		"created: failed":               {created, sample("x", "", createFailed), false, `cannot create VM "x": no disk`},
		"created: failed before":        {created, old(sample("x", "", createFailed)), false, ""},
		"created: gone":                 {created, nil, false, "deleted"},
		"running: starting":             {running, wanted(sample("x", "", isCreated, run("False", v1alpha1.ReasonStarting))), false, ""},
		"running: yes":                  {running, wanted(sample("x", "", isCreated, run("True", v1alpha1.ReasonStarted))), true, ""},
		"running: of an older spec":     {running, old(wanted(sample("x", "", isCreated, run("True", v1alpha1.ReasonStarted)))), false, ""},
		"running: failed":               {running, wanted(sample("x", "", isCreated, run("False", v1alpha1.ReasonStartFailed))), false, `cannot start VM "x": because`},
		"running: crashed":              {running, wanted(sample("x", "", isCreated, run("False", v1alpha1.ReasonCrashed))), false, "because"},
		"running: backing off":          {running, wanted(sample("x", "", isCreated, run("False", v1alpha1.ReasonBackOff))), false, "because"},
		"running: not created":          {running, wanted(sample("x", "", createFailed)), false, "cannot create"},
		"running: stopped by others":    {running, sample("x", "", isCreated), false, "asked to stop meanwhile"},
		"running: gone":                 {running, nil, false, "deleted"},
		"stopped: yes":                  {stopped, sample("x", "", run("False", v1alpha1.ReasonStopped)), true, ""},
		"stopped: after a failure":      {stopped, sample("x", "", run("False", v1alpha1.ReasonStartFailed)), true, ""},
		"stopped: stopping":             {stopped, sample("x", "", run("False", v1alpha1.ReasonStopping)), false, ""},
		"stopped: starting":             {stopped, sample("x", "", run("False", v1alpha1.ReasonStarting)), false, ""},
		"stopped: runs":                 {stopped, sample("x", "", run("True", v1alpha1.ReasonStarted)), false, ""},
		"stopped: verifying":            {stopped, sample("x", "", run("Unknown", v1alpha1.ReasonReconciling)), false, ""},
		"stopped: cannot":               {stopped, sample("x", "", run("False", v1alpha1.ReasonStopFailed)), false, "cannot stop"},
		"stopped: started by others":    {stopped, wanted(sample("x", "", run("True", v1alpha1.ReasonStarted))), false, "asked to start meanwhile"},
		"stopped: gone":                 {stopped, nil, true, ""},
		"gone: not yet":                 {gone, sample("x", ""), false, ""},
		"gone: yes":                     {gone, nil, true, ""},
		"stopped: seen, not tried":      {stopped, sample("x", ""), false, ""},
		"stopped: never was created":    {stopped, sample("x", "", createFailed), true, ""},
		"running: seen, nothing is yet": {running, wanted(sample("x", "")), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			done, err := c.goal(c.vm)
			if done != c.done || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("reached: %t, %v; want %t, %q", done, err, c.done, c.err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestProgressOffATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &lines{w: &out, name: "dev"}
	stage := func(phase v1alpha1.Phase, stage string, percent int32) {
		vm := sample("dev", phase)
		if stage != "" {
			vm.Status.Progress = &v1alpha1.ProgressStatus{Stage: stage, Percent: &percent}
		}
		p.show(vm)
	}
	stage(v1alpha1.PhaseStopped, "", 0)
	stage(v1alpha1.PhaseStarting, "", 0)
	stage(v1alpha1.PhaseStarting, "Downloading the image", 1)
	stage(v1alpha1.PhaseStarting, "Downloading the image", 2)
	stage(v1alpha1.PhaseStarting, "Waiting for ssh", 0)
	p.show(sample("dev", v1alpha1.PhaseFailed, condition(v1alpha1.ConditionRunning, "False", v1alpha1.ReasonStartFailed, "no luck\nlog")))
	p.show(nil)
	stage(v1alpha1.PhaseRunning, "", 0)
	p.stop()
	golden(t, "progress", out.String())
}

func TestQuoteSurvivesAShell(t *testing.T) {
	words := []string{"plain", "a  b", "it's", `"`, `\`, "$HOME", "`id`", "*", "", "ä\n", "-n", "#x", "!", "a;b&c|d>e"}
	command := (remote{command: append([]string{"printf", "<%s>"}, words...)}).line()
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), shell, "-c", command[0])
	run.Env = []string{"SHELL=" + shell, "PATH=/usr/bin:/bin", "HOME=" + t.TempDir()}
	output, err := run.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "<" + strings.Join(words, "><") + ">"; string(output) != want {
		t.Errorf("got  %q\nwant %q", output, want)
	}
	if (remote{}).line() != nil {
		t.Error("no words must mean an interactive shell")
	}
}

// TestShellLeavesTheCommandItsFlags: ours end where the command begins.
func TestShellLeavesTheCommandItsFlags(t *testing.T) {
	for line, want := range map[string]string{
		"dev":                                   "",
		"dev df -h":                             "df -h",
		"dev grep -q root --help":               "grep -q root --help",
		"dev -- uname -a":                       "uname -a",
		"dev --workdir /tmp ls -l":              "dir=/tmp ls -l",
		"--workdir /tmp dev ls -l":              "dir=/tmp ls -l",
		"dev --workdir /tmp --env A=B -- ls -l": "dir=/tmp A=B ls -l",
		"dev -e A=B sh -e -- x":                 "A=B sh -e -- x",
		"dev --env=A=B -- --workdir":            "A=B --workdir",
	} {
		var got string
		a := &app{Config: Config{Stdout: io.Discard, Stderr: io.Discard}}
		cmd := a.shellCommand()
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			command, err := afterFlags(cmd, args[1:])
			env, _ := cmd.Flags().GetStringArray("env")
			if dir, _ := cmd.Flags().GetString("workdir"); dir != "" {
				env = append([]string{"dir=" + dir}, env...)
			}
			got = strings.Join(append(env, command...), " ")
			return err
		}
		cmd.SetArgs(strings.Fields(line))
		if err := cmd.Execute(); err != nil || got != want {
			t.Errorf("shell %s: %q, %v; want %q", line, got, err, want)
		}
	}
}
