package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	var f *format
	var fix bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check this computer and this instance, and tell what to do", Args: cobra.NoArgs,
		Long: "Check this computer and this instance, and tell what to do. The exit code is 0 when nothing is broken.\n\n" +
			"--fix mends what is safe: modes of this instance's own files, and what VMs have left that verifiably do not run.",
		Example: "  rdd doctor\n  rdd doctor --fix",
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := a.examination()
			if err != nil {
				return err
			}
			config.Fix = fix
			findings := doctor.Examine(cmd.Context(), config)
			if f.output == "table" {
				err = f.table(a.Stdout, findingRows(findings))
			} else {
				err = f.data(a.Stdout, findings)
			}
			if err == nil && !doctor.Sound(findings) {
				err = &statusError{code: exitFailed} // the findings have said it all
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&fix, "fix", false, "mend what is safe")
	f = formatFlags(cmd, "table", "json", "yaml")
	return cmd
}

func (a *app) examination() (doctor.Config, error) {
	inst, err := a.instance()
	if err != nil {
		return doctor.Config{}, err
	}
	settings, _, problem := daemon.LoadSettings(inst)
	record, err := daemon.Find(inst)
	if err != nil {
		return doctor.Config{}, err
	}
	config := doctor.Config{
		Instance: inst, Env: a.Environ, SecurePort: settings.SecurePort, Settings: problem, Running: record != nil,
		CheckStore: func(ctx context.Context) error {
			if settings.DatastoreEndpoint != "" {
				return nil
			}
			return daemon.CheckStore(ctx, inst)
		},
	}
	if record.Serves() {
		config.Address = record.Address
	}
	return config, nil
}

func findingRows(findings []doctor.Finding) [][]string {
	rows := [][]string{{"CHECK", "STATUS", "MESSAGE"}}
	for _, finding := range findings {
		message := finding.Message
		if finding.Remedy != "" {
			message += " → " + finding.Remedy
		}
		rows = append(rows, []string{finding.Check, string(finding.Status), strings.Join(strings.Fields(message), " ")})
	}
	return rows
}
