package login

import (
	"encoding/xml"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

// The processes of VMs have sessions of their own; AbandonProcessGroup says so to launchd, too. A control plane that was asked to
// end stays ended. When the session ends it is asked, and shuts its VMs down.
const agentPlist = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>{{label .Instance}}</string>
	<key>ProgramArguments</key>
	<array>
		<string>{{text .Executable}}</string>
		<string>--instance={{.Instance}}</string>
		<string>svc</string>
		<string>serve</string>
	</array>
	<key>EnvironmentVariables</key>
	<dict>
{{range .Environ}}		<key>{{text (key .)}}</key>
		<string>{{text (value .)}}</string>
{{end}}	</dict>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>AbandonProcessGroup</key>
	<true/>
	<key>ExitTimeOut</key>
	<integer>110</integer>
	<key>ProcessType</key>
	<string>Interactive</string>
	<key>StandardOutPath</key>
	<string>{{text .Stdout}}</string>
	<key>StandardErrorPath</key>
	<string>{{text .Stderr}}</string>
</dict>
</plist>
`

// Launchd is for macOS, in the session of the user with that numeric id.
func Launchd(spec Spec, uid int) (Plan, error) {
	content, err := fill(agentPlist, template.FuncMap{"label": label, "text": escapeXML, "key": key, "value": value}, spec)
	if err != nil {
		return Plan{}, err
	}
	path := filepath.Join(spec.Home, "Library", "LaunchAgents", label(spec.Instance)+".plist")
	session := "gui/" + strconv.Itoa(uid)
	return Plan{
		Files:   []File{{path, content}},
		Enable:  [][]string{{"launchctl", "bootstrap", session, path}},
		Start:   [][]string{{"launchctl", "kickstart", session + "/" + label(spec.Instance)}},
		program: "<string>" + escapeXML(spec.Executable) + "</string>",
	}, nil
}

func label(instance string) string { return "io.rancherdesktop.rdd." + instance }

func key(variable string) string { before, _, _ := strings.Cut(variable, "="); return before }

func value(variable string) string { _, after, _ := strings.Cut(variable, "="); return after }

func escapeXML(text string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text)) // a strings.Builder takes everything
	return escaped.String()
}
