package cli

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// environment is what the command line takes from the environment, once.
type environment struct {
	instance    string
	logLevel    string
	directories instance.Env
	// configHome is where the user's configuration is; may be empty.
	configHome string
	// lasting are the variables that a control plane needs that is started without a shell, "KEY=value".
	lasting []string
	// keepLogs: no log of the past is removed.
	keepLogs bool
	// plain: the terminal, if any, cannot or should not show more than lines of text.
	plain bool
}

func parseEnvironment(environ []string) environment {
	values := map[string]string{}
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		values[key] = value
	}
	home := values["HOME"]
	if profile := values["USERPROFILE"]; home == "" || profile != "" && windowsHome {
		home = profile
	}
	var lasting []string
	for _, key := range []string{"PATH", "XDG_DATA_HOME", "XDG_STATE_HOME", "RDD_LOG_DIR", "RDD_KEEP_LOGS"} {
		if value := values[key]; value != "" {
			lasting = append(lasting, key+"="+value)
		}
	}
	return environment{
		instance: values["RDD_INSTANCE"],
		logLevel: values["RDD_LOG_LEVEL"],
		directories: instance.Env{
			Home: home, XDGDataHome: values["XDG_DATA_HOME"], XDGStateHome: values["XDG_STATE_HOME"],
			LocalAppData: values["LOCALAPPDATA"], LogDir: values["RDD_LOG_DIR"],
		},
		configHome: values["XDG_CONFIG_HOME"], lasting: lasting,
		keepLogs: truth(values["RDD_KEEP_LOGS"]),
		plain:    values["TERM"] == "dumb",
	}
}

// settle makes environ mean the same in every directory: a control plane in the background runs in another one.
func settle(environ []string) []string {
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		if key != "RDD_LOG_DIR" || value == "" {
			continue
		}
		if abs, err := filepath.Abs(value); err == nil { // else the instance says so
			environ = with(environ, key, abs)
		}
	}
	return environ
}

// truth is how a variable says yes: by anything but nothing, or what plainly means no.
func truth(value string) bool {
	parsed, err := strconv.ParseBool(value)
	return parsed || err != nil && value != ""
}

// with returns environ with one variable set.
func with(environ []string, key, value string) []string {
	result := make([]string, 0, len(environ)+1)
	for _, pair := range environ {
		if name, _, _ := strings.Cut(pair, "="); name != key {
			result = append(result, pair)
		}
	}
	return append(result, key+"="+value)
}
