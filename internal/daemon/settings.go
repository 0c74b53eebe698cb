package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-192657fa/rdd/internal/instance"
)

// Settings are what a user chose for an instance, and what the daemon remembers for the next start.
type Settings struct {
	// SecurePort is the port that the user asked for; 0 means the instance's default or, where that is taken, the next free
	// one.
	SecurePort int `json:"securePort,omitempty"`
	// DatastoreEndpoint is the URLs of an etcd, as package datastore reads them; empty means the embedded store.
	DatastoreEndpoint string `json:"datastoreEndpoint,omitempty"`
	// Controllers to run: "*" for all, names or groups, a leading "-" to leave one out; empty for none.
	Controllers string `json:"controllers"`
	// LastPort is where the API listened the last time, unless the user had asked for a port.
	LastPort int `json:"lastPort,omitempty"`
}

// DefaultSettings are those of an instance that was never set up.
func DefaultSettings() Settings { return Settings{Controllers: "*"} }

// LoadSettings returns the saved settings; exists tells whether there are any.
func LoadSettings(inst instance.Instance) (settings Settings, exists bool, err error) {
	settings = DefaultSettings()
	content, err := os.ReadFile(inst.SettingsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return settings, false, nil
	}
	if err != nil {
		return settings, true, fmt.Errorf("cannot read the settings in %s: %w", inst.SettingsFile(), err)
	}
	if err = json.Unmarshal(content, &settings); err == nil {
		err = settings.Check()
	}
	if err != nil {
		return settings, true, fmt.Errorf("cannot use the settings in %s: %w; mend that file, or remove it: it holds what \"rdd svc create\" was told, "+
			"and the last port", inst.SettingsFile(), err)
	}
	return settings, true, nil
}

// SaveSettings saves settings in the instance's directory, which must exist.
func SaveSettings(inst instance.Instance, settings Settings) error {
	if err := settings.Check(); err != nil {
		return err
	}
	content, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the settings: %w", err)
	}
	return writeFile(inst.SettingsFile(), append(content, '\n'))
}

// Check tells what is wrong with the settings.
func (s Settings) Check() error {
	if s.SecurePort < 0 || s.SecurePort > 65535 {
		return fmt.Errorf("port %d is out of range: it must be between 1 and 65535", s.SecurePort)
	}
	return checkControllers(s.Controllers)
}
