package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/datastore"
	"github.com/seed-192657fa/rdd/internal/instance"
)

func (a *app) svcCommand() *cobra.Command {
	return group("service", "Start, stop and inspect the control plane", []string{"svc"},
		a.svcCreateCommand(), a.svcStartCommand(), a.svcServeCommand(), a.svcStopCommand(), a.svcRestartCommand(),
		a.svcStatusCommand(), a.svcLogsCommand(), a.svcPathsCommand(), a.svcConfigCommand(), a.svcResetCommand(),
		a.svcDeleteCommand(), a.svcInstallCommand(), a.svcUninstallCommand())
}

// settingsFlags adds the flags that change the settings of an instance, or override them for one session.
func settingsFlags(cmd *cobra.Command) {
	defaults := daemon.DefaultSettings()
	cmd.Flags().String("controllers", defaults.Controllers, "controllers to run: * for all, names or groups, a leading - to leave one out, empty for none")
	cmd.Flags().Int("secure-port", 0, "port of the API on the loopback interface (default: 6443 plus the instance's index, or the next free one)")
	cmd.Flags().String("datastore-endpoint", "", "URL of an etcd to keep the API's objects in, instead of the embedded store, or several, separated by commas; @FILE reads them from a file, as those with a password must be")
}

// applySettings changes the settings by the flags that were given.
func applySettings(cmd *cobra.Command, settings *daemon.Settings) error {
	flags := cmd.Flags()
	if flags.Changed("controllers") {
		settings.Controllers, _ = flags.GetString("controllers")
	}
	if flags.Changed("secure-port") {
		settings.SecurePort, _ = flags.GetInt("secure-port")
	}
	if flags.Changed("datastore-endpoint") {
		endpoint, _ := flags.GetString("datastore-endpoint")
		read, err := readEndpoint(endpoint)
		if err != nil {
			return err
		}
		settings.DatastoreEndpoint = read
	}
	return nil
}

// readEndpoint reads the URLs of a datastore, from a file where that is what the flag says. A password in an argument list could be
// read by every user of the computer.
func readEndpoint(flag string) (string, error) {
	file, named := strings.CutPrefix(flag, "@")
	endpoint := flag
	if named {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", usagef("cannot read the URL of the datastore: %w", err)
		}
		endpoint = strings.TrimSpace(string(content))
	}
	if endpoint == "" {
		return "", nil // the embedded store
	}
	if _, err := datastore.Parse(endpoint); err != nil {
		return "", usage(err)
	}
	if !named && len(datastore.Passwords(endpoint)) > 0 {
		return "", usagef("every user of this computer can read a password in an argument list: write the URL to a file, and say --datastore-endpoint=@FILE")
	}
	return endpoint, nil
}

// sessionFlags are the given flags again, for the daemon in the background, which is in another directory.
func sessionFlags(cmd *cobra.Command) []string {
	var args []string
	for _, name := range []string{"controllers", "secure-port", "datastore-endpoint"} {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		value := flag.Value.String()
		if file, named := strings.CutPrefix(value, "@"); named && name == "datastore-endpoint" {
			if abs, err := filepath.Abs(file); err == nil {
				value = "@" + abs
			}
		}
		args = append(args, "--"+name+"="+value)
	}
	return args
}

// settings are the saved ones, changed by the flags that were given.
func (a *app) settings(cmd *cobra.Command, inst instance.Instance) (daemon.Settings, error) {
	settings, _, err := daemon.LoadSettings(inst)
	if err != nil {
		return settings, err
	}
	if err := applySettings(cmd, &settings); err != nil {
		return settings, err
	}
	if err := settings.Check(); err != nil {
		return settings, usage(err)
	}
	return settings, nil
}

// settingsInForce are those that the running control plane was started with, or the saved ones where none runs.
func (a *app) settingsInForce(inst instance.Instance) (daemon.Settings, error) {
	settings, _, err := daemon.LoadSettings(inst)
	if err != nil {
		return settings, err
	}
	record, err := daemon.Find(inst)
	if err != nil || record == nil {
		return settings, err
	}
	session := &cobra.Command{}
	settingsFlags(session)
	if err := session.ParseFlags(record.Session); err != nil {
		return settings, fmt.Errorf("cannot tell with which settings the running control plane was started: %w", err)
	}
	return settings, applySettings(session, &settings)
}
