package login

import (
	"fmt"
	"path"
	"strings"
	"text/template"
)

// The control plane is ended and started without its VMs, and systemd kills none of their processes although they are in its
// control group. It has no ExecStop: systemd runs that also when the control plane ends by itself, as in "rdd svc restart", and
// would stop the new one. VMs that stay when the session ends are shut down by the second unit: it starts after the first, so that
// it is stopped before it. The limit is that of a control plane that fails again and again: systemd's own, 5 starts in 10 s, is one
// for people who restart it.
const (
	controlPlaneUnit = `[Unit]
Description=Control plane of rdd instance {{.Instance}}
StartLimitIntervalSec=60
StartLimitBurst=20

[Service]
Type=notify
{{range .Environ}}Environment={{quote .}}
{{end}}ExecStart={{program .Executable}} --instance={{.Instance}} svc serve --keep-vms
StandardOutput=append:{{file .Stdout}}
StandardError=append:{{file .Stderr}}
KillMode=process
TimeoutStopSec=60
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={{.ExitRunning}}

[Install]
WantedBy=default.target
`
	vmsUnit = `[Unit]
Description=Shutdown of the VMs of rdd instance {{.Instance}} when the session ends
After=rdd-{{.Instance}}.service

[Service]
Type=oneshot
RemainAfterExit=yes
{{range .Environ}}Environment={{quote .}}
{{end}}ExecStart=/bin/true
ExecStop={{program .Executable}} --instance={{.Instance}} svc stop
TimeoutStopSec=110

[Install]
WantedBy=default.target
`
)

// Systemd is for a user's systemd.
func Systemd(spec Spec) (Plan, error) {
	if strings.ContainsAny(spec.Executable, "\"'\\*?[") {
		return Plan{}, fmt.Errorf("systemd takes no program whose path has quotes, backslashes, *, ? or [: move %s", spec.Executable)
	}
	quote := template.FuncMap{"quote": quoteSystemd, "program": func(path string) string {
		return `"` + escapePercent(path) + `"` // no variables there
	}, "file": escapePercent}
	dir := path.Join(spec.ConfigHome, "systemd", "user")
	units := []string{"rdd-" + spec.Instance + ".service", "rdd-" + spec.Instance + "-vms.service"}
	var plan Plan
	for i, text := range []string{controlPlaneUnit, vmsUnit} {
		content, err := fill(text, quote, spec)
		if err != nil {
			return Plan{}, err
		}
		plan.Files = append(plan.Files, File{path.Join(dir, units[i]), content})
	}
	systemctl := func(words ...string) []string { return append([]string{"systemctl", "--user"}, words...) }
	plan.Enable = [][]string{systemctl("daemon-reload"), systemctl(append([]string{"enable", "--now"}, units...)...)}
	plan.Disable = [][]string{systemctl(append([]string{"disable"}, units...)...)}
	plan.Start = [][]string{systemctl(append([]string{"start"}, units...)...)}
	plan.Halt = [][]string{systemctl("stop", units[0])}
	plan.program = `ExecStart="` + escapePercent(spec.Executable) + `" `
	return plan, nil
}

// quoteSystemd makes one assignment of a text: in units, % begins a specifier.
func quoteSystemd(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(text) + `"`
}

func escapePercent(text string) string { return strings.ReplaceAll(text, "%", "%%") }
