package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/doctor"
	"github.com/seed-192657fa/rdd/internal/instance"
)

// serviceStatus is what `svc status` prints.
type serviceStatus struct {
	Instance  string         `json:"instance"`
	Created   bool           `json:"created"`
	Running   bool           `json:"running"`
	Ready     bool           `json:"ready"`
	PID       int            `json:"pid,omitempty"`
	Version   string         `json:"version,omitempty"`
	Address   string         `json:"address,omitempty"`
	StartedAt *time.Time     `json:"startedAt,omitempty"`
	VMs       map[string]int `json:"vms,omitempty"`
	// Unattended are the VMs that run although the control plane does not.
	Unattended []string `json:"unattended,omitempty"`
	// Restarts is how often the VMs came to run in their lives.
	Restarts *int `json:"restarts,omitempty"`
	// ForcedStops and ForeignProcesses are those since the daemon started: VMs that were ended by force, and PID files that
	// named a process which is not ours.
	ForcedStops      *int `json:"forcedStops,omitempty"`
	ForeignProcesses *int `json:"foreignProcesses,omitempty"`
	// Problem tells why the VMs could not be counted.
	Problem string `json:"problem,omitempty"`
	// Notice tells that the daemon is not this program, and how to replace it.
	Notice string `json:"notice,omitempty"`
}

// askTimeout bounds what a status waits for an answer of the API.
const askTimeout = 5 * time.Second

func (a *app) svcStatusCommand() *cobra.Command {
	var f *format
	cmd := &cobra.Command{
		Use: "status", Short: "Tell whether the control plane runs, and how many VMs there are", Args: cobra.NoArgs,
		Long: "Tell whether the control plane runs, and how many VMs there are. Where it does not run, VMs that run without it are\n" +
			"named. The exit code is 0 in either case: \"running\" in -o json tells them apart.",
		Example: "  rdd svc status -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, err := a.instance()
			if err != nil {
				return err
			}
			status, err := a.statusOf(cmd.Context(), inst)
			if err != nil {
				return err
			}
			if f.output != "table" {
				return f.data(a.Stdout, status)
			}
			if status.Notice != "" {
				a.note("%s", status.Notice)
			}
			return f.table(a.Stdout, status.rows())
		},
	}
	f = formatFlags(cmd, "table", "json", "yaml")
	return cmd
}

func (a *app) statusOf(ctx context.Context, inst instance.Instance) (*serviceStatus, error) {
	_, created, err := daemon.LoadSettings(inst)
	if err != nil {
		return nil, err
	}
	record, err := daemon.Find(inst)
	if err != nil {
		return nil, err
	}
	status := &serviceStatus{Instance: inst.Name, Created: created || record != nil}
	if record == nil {
		status.Unattended = doctor.Alive(inst)
		return status, nil
	}
	status.Running, status.Ready = true, record.Serves()
	status.PID, status.Version, status.Address = record.PID, record.Version, record.Address
	status.StartedAt, status.Notice = &record.StartedAt, a.outdated(record)
	if status.Ready {
		if err := status.count(ctx, inst); err != nil {
			status.Problem = describe(err)
		}
	}
	return status, nil
}

// outdated tells that a daemon is not this program, as after an upgrade, and how to replace it; empty if it is.
func (a *app) outdated(record *daemon.Record) string {
	other := record.Differs(a.Version, a.Executable)
	if other == "" {
		return ""
	}
	return fmt.Sprintf("The daemon runs %s, this is version %s: \"rdd svc restart\" replaces it and leaves the VMs running", other, a.Version)
}

// count asks the API how the VMs are, and how they fared.
func (s *serviceStatus) count(ctx context.Context, inst instance.Instance) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	api, err := connect(inst)
	if err != nil {
		return err
	}
	var list v1alpha1.LimaVMList
	if err := api.List(ctx, &list); err != nil {
		return fmt.Errorf("cannot count the VMs: %w", err)
	}
	phases, restarts := map[string]int{}, 0
	for i := range list.Items {
		phases[phaseOf(&list.Items[i])]++
		restarts += int(list.Items[i].Status.RestartCount)
	}
	s.VMs, s.Restarts = phases, &restarts
	const forced, foreign = "rdd_limavm_forced_stops_total", "rdd_limavm_foreign_processes_total"
	counters, err := readCounters(ctx, inst, forced, foreign)
	if err != nil {
		return err
	}
	s.ForcedStops, s.ForeignProcesses = counters[forced], counters[foreign]
	return nil
}

func (s *serviceStatus) rows() [][]string {
	started := ""
	if s.StartedAt != nil {
		started = s.StartedAt.Local().Format(time.DateTime)
	}
	var counts []string
	for _, phase := range slices.Sorted(maps.Keys(s.VMs)) {
		counts = append(counts, fmt.Sprintf("%d %s", s.VMs[phase], phase))
	}
	vms := strings.Join(counts, ", ")
	if s.Ready && vms == "" {
		vms = "none"
	}
	if s.Problem != "" {
		vms = s.Problem
	}
	if len(s.Unattended) > 0 {
		vms = fmt.Sprintf("running without a control plane: %s; \"rdd svc start\" takes over, \"rdd svc stop\" shuts down", strings.Join(s.Unattended, ", "))
	}
	pid := ""
	if s.PID != 0 {
		pid = strconv.Itoa(s.PID)
	}
	rows := [][]string{{"KEY", "VALUE"}}
	for _, row := range [][]string{
		{"instance", s.Instance}, {"created", strconv.FormatBool(s.Created)}, {"running", strconv.FormatBool(s.Running)},
		{"ready", strconv.FormatBool(s.Ready)}, {"pid", pid}, {"version", s.Version}, {"address", s.Address},
		{"started", started}, {"vms", vms}, {"restarts", number(s.Restarts)}, {"forced stops", number(s.ForcedStops)},
		{"foreign processes", number(s.ForeignProcesses)},
	} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	return rows
}

// number is empty for what is not known.
func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}
