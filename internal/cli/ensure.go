package cli

import (
	"context"
	"crypto/tls"
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

// startService is launch, but a daemon that runs already must answer. One that was killed a moment ago looks alive until the system
// has taken it apart, and another takes its place then; one that hangs serves nobody.
func (a *app) startService(ctx context.Context, inst instance.Instance, flags []string, wait bool) (*daemon.Record, bool, error) {
	for {
		record, launched, err := a.launch(ctx, inst, flags, wait)
		if err != nil || launched || record == nil || !wait {
			return record, launched, err
		}
		if answers, err := awaitAnswer(ctx, inst, record); answers || err != nil {
			return record, false, err
		}
	}
}

// answerTimeout bounds what a daemon gets to answer, and then to be gone.
const answerTimeout = 15 * time.Second

// awaitAnswer tells whether a daemon answers; if not, it has ended, or is about to. One that does neither is an error.
func awaitAnswer(ctx context.Context, inst instance.Instance, record *daemon.Record) (bool, error) {
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is said, and nothing believed
	connection, silent := dialer.DialContext(asking, "tcp", record.Address)
	if silent == nil {
		return true, connection.Close()
	}
	if now, err := daemon.Find(inst); err != nil || !now.Serves() { // it has ended, or somebody asked it to
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if daemon.AwaitEnd(waiting, record) == nil {
		return false, nil
	}
	return false, fmt.Errorf("the control plane of instance %q (PID %d) does not answer (%v); \"rdd svc restart\" replaces it, and leaves the VMs "+
		"running", inst.Name, record.PID, silent)
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
