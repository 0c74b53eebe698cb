package cli

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/logging"
	"github.com/seed-192657fa/rdd/process"
)

func (a *app) svcServeCommand() *cobra.Command {
	var launched, keepVMs, unlessRunning bool
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the control plane in the foreground: for systemd, launchd and debugging", Args: cobra.NoArgs,
		Example: "  rdd --log-level=debug svc serve",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if launched || keepVMs {
				// Only who sits at a terminal means it when he asks twice; elsewhere two may have asked.
				again := make(chan os.Signal, 1)
				signal.Notify(again, os.Interrupt, syscall.SIGTERM)
				defer signal.Stop(again)
			}
			var announcer *daemon.Announcer
			if launched {
				pipe, err := inheritedPipe()
				if err != nil {
					return usagef("--launched is for rdd itself: %w", err)
				}
				announcer = daemon.NewAnnouncer(pipe)
			}
			err := a.serve(cmd, announcer, keepVMs)
			if err != nil {
				announcer.Failed(err)
			}
			// The system takes a failure for a crash, and would start again what was asked to end.
			if (keepVMs || unlessRunning) && is[*daemon.AskedError](err) || unlessRunning && errors.Is(err, daemon.ErrRunning) {
				a.note("%s", describe(err))
				return nil
			}
			return err
		},
	}
	settingsFlags(cmd)
	cmd.Flags().BoolVar(&keepVMs, "keep-vms", false, "leave the VMs running when a signal ends the control plane, for the next one to take over")
	cmd.Flags().BoolVar(&unlessRunning, "unless-running", false, "end without an error where another control plane serves the instance")
	cmd.Flags().BoolVar(&launched, "launched", false, "tell the process that launched this one how the start goes")
	_ = cmd.Flags().MarkHidden("launched")
	return cmd
}

// inheritedPipe is the one that the launcher hears on. Called by hand, the first descriptor may be anything, such as one that
// Go's own runtime has opened.
func inheritedPipe() (*os.File, error) {
	file, err := process.ExtraFile(0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeNamedPipe == 0 {
		return nil, errors.New("there is nobody to tell")
	}
	return file, nil
}

func (a *app) serve(cmd *cobra.Command, announcer *daemon.Announcer, keepVMs bool) error {
	inst, err := a.instance()
	if err != nil {
		return err
	}
	settings, err := a.settings(cmd, inst)
	if err != nil {
		return err
	}
	level, err := logging.ParseLevel(a.logLevel)
	if err != nil {
		return usage(err)
	}
	// Lima's library reads it where a template is validated, and all children inherit it.
	if err := setenv(map[string]string{"LIMA_HOME": inst.LimaHome()}); err != nil {
		return err
	}
	out, logs := a.Stderr, (*daemon.Logs)(nil)
	if goesTo(inst.StderrLog(), a.Stderr) {
		logs = daemon.NewLogs(inst, a.Stderr, a.env.keepLogs)
		out = logs
	}
	return daemon.Serve(cmd.Context(), daemon.Config{
		Instance: inst, Settings: settings, Session: sessionFlags(cmd), KeepVMs: keepVMs,
		Version: a.Version, Executable: a.Executable, Agents: a.Agents,
		Environ:  with(a.Environ, "LIMA_HOME", inst.LimaHome()),
		Log:      logging.New(out, level),
		Logs:     logs,
		Announce: announcer,
	})
}

// goesTo tells whether what is written goes to the file of that name.
func goesTo(name string, to io.Writer) bool {
	file, ok := isFile(to)
	if !ok {
		return false
	}
	written, err1 := file.Stat()
	named, err2 := os.Stat(name)
	return err1 == nil && err2 == nil && os.SameFile(written, named)
}
