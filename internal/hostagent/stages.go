package hostagent

import (
	"regexp"

	"github.com/sirupsen/logrus"
)

// stages turns what Lima logs on the way to a running VM into progress. Lima has no other way to tell; where its words
// change, people see a coarser stage and nothing else is lost.
type stages struct{ to teller }

var waiting = regexp.MustCompile("^Waiting for (the (?:essential|optional|final) requirement \\d+ of \\d+: [\"`](.+)[\"`]|the guest agent to be running)$")

// Levels implements logrus.Hook.
func (*stages) Levels() []logrus.Level { return []logrus.Level{logrus.InfoLevel} }

// Fire implements logrus.Hook.
func (s *stages) Fire(entry *logrus.Entry) error {
	match := waiting.FindStringSubmatch(entry.Message)
	switch {
	case match == nil:
	case match[2] != "":
		progress(s.to, "Waiting for "+inPlainWords(match[2]), -1, "")
	default:
		progress(s.to, "Waiting for the guest agent", -1, "")
	}
	return nil
}

// inPlainWords says what a requirement of Lima's is about to people who do not know Lima's insides.
func inPlainWords(requirement string) string {
	switch requirement {
	case "user session is ready for ssh":
		return "the user's session"
	case "Explicitly start ssh ControlMaster":
		return "the ssh connection"
	case "boot scripts must have finished":
		return "the boot scripts"
	}
	return requirement
}
