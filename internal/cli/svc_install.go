package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/login"
)

// pollReady is how often a start by the system is looked at, which tells nobody when it is done.
const pollReady = 100 * time.Millisecond

func (a *app) svcInstallCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "install", Short: "Start the control plane whenever you log in, from now on", Args: cobra.NoArgs,
		Long: "Start the control plane whenever you log in: by systemd, launchd or the task scheduler of Windows. One that runs is\n" +
			"replaced by theirs, with the VMs left running. VMs that should run are started with it, and shut down when your\n" +
			"session ends; Windows ends them without that, unless you say \"rdd svc stop\" first. Run it again after rdd has moved.",
		Example: "  rdd svc install --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, plan, err := a.loginPlan()
			if err != nil {
				return err
			}
			if dryRun {
				_, err := fmt.Fprint(a.Stdout, login.Describe(plan))
				return err
			}
			if err := daemon.MakeDirs(inst); err != nil {
				return err
			}
			if _, err := daemon.Stop(cmd.Context(), inst, daemon.Stopping{Timeout: handoverTimeout, KeepVMs: true}); err != nil {
				return err
			}
			if err := login.Install(cmd.Context(), plan); err != nil {
				return fmt.Errorf("%w; \"rdd svc start\" starts the control plane all the same", err)
			}
			record, err := awaitServing(cmd.Context(), inst)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q starts whenever you log in, and is ready: https://%s, PID %d\n",
				inst.Name, record.Address, record.PID)
			return err
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the files and the commands, and do nothing")
	return cmd
}

func (a *app) svcUninstallCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "uninstall", Short: "No longer start the control plane when you log in; what runs goes on", Args: cobra.NoArgs,
		Example: "  rdd svc uninstall --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			inst, plan, err := a.loginPlan()
			if err != nil {
				return err
			}
			record, err := daemon.Find(inst)
			if err != nil {
				return err
			}
			if record != nil {
				plan.Unload = nil // it would end the control plane; what the system has read it forgets when the session ends
			}
			if dryRun {
				for _, command := range slices.Concat(plan.Unload, plan.Disable) {
					fmt.Fprintf(a.Stdout, "$ %s\n", strings.Join(command, " "))
				}
				for _, file := range plan.Files {
					fmt.Fprintf(a.Stdout, "remove %s\n", file.Path)
				}
				return nil
			}
			was, err := login.Uninstall(cmd.Context(), plan)
			if err != nil {
				return err
			}
			state := "no longer starts when you log in"
			if !was {
				state = "was not installed"
			}
			_, err = fmt.Fprintf(a.Stdout, "The control plane of instance %q %s\n", inst.Name, state)
			return err
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be done, and do nothing")
	return cmd
}

func (a *app) loginPlan() (instance.Instance, login.Plan, error) {
	inst, err := a.instance()
	if err != nil {
		return inst, login.Plan{}, err
	}
	spec := login.Spec{
		Instance: inst.Name, Executable: a.Executable, Home: a.env.directories.Home, ConfigHome: a.env.configHome,
		Stdout: inst.StdoutLog(), Stderr: inst.StderrLog(), Environ: a.env.lasting,
		ExitRunning: exitRunning,
	}
	if !filepath.IsAbs(spec.ConfigHome) {
		spec.ConfigHome = filepath.Join(spec.Home, ".config")
	}
	if a.logLevel != "" {
		spec.Environ = append(spec.Environ, "RDD_LOG_LEVEL="+a.logLevel)
	}
	plan, err := login.Host(spec, inst.Dir)
	return inst, plan, err
}

// awaitServing waits for a daemon that the system starts.
func awaitServing(ctx context.Context, inst instance.Instance) (*daemon.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		record, err := daemon.Find(inst)
		if err != nil || record.Serves() {
			return record, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("it is installed, but the control plane does not get ready: %w; see \"rdd svc status\"", ctx.Err())
		case <-time.After(pollReady):
		}
	}
}
