package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
)

func (a *app) svcCommand() *cobra.Command {
	return group("service", "Start, stop and inspect the control plane", []string{"svc"},
		a.svcCreateCommand(), a.svcStartCommand(), a.svcServeCommand(), a.svcStopCommand(), a.svcRestartCommand(),
		a.svcStatusCommand(), a.svcLogsCommand(), a.svcPathsCommand(), a.svcConfigCommand(), a.svcResetCommand(),
		a.svcDeleteCommand())
}

// settingsFlags adds the flags that change the settings of an instance, or override them for one session.
func settingsFlags(cmd *cobra.Command) {
	defaults := daemon.DefaultSettings()
	cmd.Flags().String("controllers", defaults.Controllers, "controllers to run: * for all, names or groups, a leading - to leave one out, empty for none")
	cmd.Flags().Int("secure-port", 0, "port of the API on the loopback interface (default: 6443 plus the instance's index, or the next free one)")
	cmd.Flags().String("datastore-endpoint", "", "URL of an etcd to keep the API's objects in, instead of the embedded store")
}

// applySettings changes the settings by the flags that were given.
func applySettings(cmd *cobra.Command, settings *daemon.Settings) {
	flags := cmd.Flags()
	if flags.Changed("controllers") {
		settings.Controllers, _ = flags.GetString("controllers")
	}
	if flags.Changed("secure-port") {
		settings.SecurePort, _ = flags.GetInt("secure-port")
	}
	if flags.Changed("datastore-endpoint") {
		settings.DatastoreEndpoint, _ = flags.GetString("datastore-endpoint")
	}
}

// sessionFlags are the given flags again, for the daemon in the background.
func sessionFlags(cmd *cobra.Command) []string {
	var settings daemon.Settings
	applySettings(cmd, &settings)
	var args []string
	for name, value := range map[string]string{
		"controllers": settings.Controllers, "secure-port": strconv.Itoa(settings.SecurePort),
		"datastore-endpoint": settings.DatastoreEndpoint,
	} {
		if cmd.Flags().Changed(name) {
			args = append(args, "--"+name+"="+value)
		}
	}
	return args
}

// settings are the saved ones, changed by the flags that were given.
func (a *app) settings(cmd *cobra.Command, inst instance.Instance) (daemon.Settings, error) {
	settings, _, err := daemon.LoadSettings(inst)
	if err != nil {
		return settings, err
	}
	applySettings(cmd, &settings)
	if err := settings.Check(); err != nil {
		return settings, usage(err)
	}
	return settings, nil
}
