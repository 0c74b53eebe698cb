package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/login"
)

// startTimeout is how long a start of the control plane may take.
const startTimeout = 90 * time.Second

// ensure makes sure that the control plane runs, for a command that needs it.
func (a *app) ensure(ctx context.Context, inst instance.Instance) error {
	record, err := daemon.Find(inst)
	if err != nil || record.Serves() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, _, err = a.launch(ctx, inst, nil, true)
	return err
}

// launch starts the daemon in the background, with flags for this session, unless it runs. Without any, the system does where
// "svc install" has told it how, so that the daemon stays the system's, across "svc restart" too. What the environment says about
// the log is no such flag: that is in what was installed.
func (a *app) launch(ctx context.Context, inst instance.Instance, flags []string, wait bool) (*daemon.Record, bool, error) {
	args := []string{"--instance=" + inst.Name}
	if a.logLevel != "" {
		args = append(args, "--log-level="+a.logLevel)
	}
	args = append(args, "svc", "serve", "--launched")
	how := daemon.Launching{
		Instance: inst, Executable: a.Executable, Args: append(args, flags...), Environ: a.Environ, NoWait: !wait,
	}
	if len(flags) == 0 && a.logLevel == a.env.logLevel {
		how.Service = func(ctx context.Context) bool {
			_, plan, err := a.loginPlan()
			return err == nil && login.Start(ctx, plan)
		}
	}
	record, launched, err := daemon.Launch(ctx, how)
	if err != nil && ctx.Err() != nil {
		return nil, false, fmt.Errorf("%w; see \"rdd svc status\"", err)
	}
	return record, launched, err
}
