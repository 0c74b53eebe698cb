package cli

import "testing"

// TestGoldenOutputOfTheHost has what is said in other words on other systems: paths, units, and errors of the system.
func TestGoldenOutputOfTheHost(t *testing.T) {
	for name, args := range map[string][]string{
		"paths":               {"svc", "paths"},
		"paths-no-headers":    {"svc", "paths", "--no-headers"},
		"paths-json":          {"--instance=dev-3", "svc", "paths", "-o", "json"},
		"paths-shell":         {"svc", "paths", "-o", "shell"},
		"paths-key":           {"svc", "paths", "config"},
		"paths-key-json":      {"svc", "paths", "config", "-o", "json"},
		"paths-key-shell":     {"svc", "paths", "config", "-o", "shell"},
		"install-dry-run":     {"svc", "install", "--dry-run"},
		"uninstall-dry-run":   {"svc", "uninstall", "--dry-run"},
		"uninstall-not-there": {"svc", "uninstall"},
	} {
		t.Run(name, func(t *testing.T) { goldenOutput(t, name, args) })
	}
}

func TestGoldenErrorsOfTheHost(t *testing.T) {
	goldenErrors(t, "errors-of-the-host", [][]string{
		{"limavm", "create", "a", "/nowhere.yaml"},
		{"svc", "create", "--datastore-endpoint=@/nowhere"},
		{"support-bundle", "--file=/nowhere/x.tar.gz"},
	})
}
