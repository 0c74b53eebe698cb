package login

import (
	"encoding/xml"
	"path"
	"strconv"
	"strings"
	"text/template"
)

// The processes of VMs have sessions of their own; AbandonProcessGroup says so to launchd, too. A control plane that was asked to
// end stays ended, and so does one that finds another at work, which launchd would start again for ever. When the session ends it is
// asked, and shuts its VMs down.
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
		<string>--unless-running</string>
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

// The exit codes of launchctl where a job is not loaded: which one depends on the release of macOS.
const (
	noSuchProcess = 3
	noSuchService = 113
)

// Launchd is for macOS, in the session of the user with that numeric id.
func Launchd(spec Spec, uid int) (Plan, error) {
	content, err := fill(agentPlist, template.FuncMap{"label": label, "text": escapeXML, "key": key, "value": value}, spec)
	if err != nil {
		return Plan{}, err
	}
	plist := path.Join(spec.Home, "Library", "LaunchAgents", label(spec.Instance)+".plist")
	session := "gui/" + strconv.Itoa(uid)
	job := session + "/" + label(spec.Instance)
	return Plan{
		Files:     []File{{plist, content}},
		Enable:    [][]string{{"launchctl", "bootstrap", session, plist}}, // which refuses a job that is loaded
		Unload:    [][]string{{"launchctl", "bootout", job}},
		Halt:      [][]string{{"launchctl", "bootout", job}},
		notLoaded: []int{noSuchProcess, noSuchService},
		Start:     [][]string{{"launchctl", "kickstart", job}},
		program:   "<string>" + escapeXML(spec.Executable) + "</string>",
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
