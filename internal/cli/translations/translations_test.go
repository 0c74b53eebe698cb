package translations

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/kubectl/pkg/cmd/options"
	"k8s.io/kubectl/pkg/util/i18n"
)

var _ = options.NewCmdOptions // whose texts are translated when it is initialised

func TestIsEnglish(t *testing.T) {
	for setting, want := range map[string]bool{"": true, "C": true, "C.UTF-8": true, "POSIX": true, "en_US.UTF-8": true, "de_DE.UTF-8": false, "fr_FR": false} {
		if isEnglish("", setting) != want {
			t.Errorf("isEnglish(%q) = %t", setting, !want)
		}
	}
}

// TestTheUsersLanguage re-executes itself, because the language is decided on when the process starts.
func TestTheUsersLanguage(t *testing.T) {
	const text = "Print the list of flags inherited by all commands"
	if os.Getenv("RDD_TEST_TRANSLATE") != "" {
		os.Stdout.WriteString(i18n.T(text) + "\n")
		return
	}
	for language, translated := range map[string]bool{"en_US.UTF-8": false, "": false, "de_DE.UTF-8": true, "ja_JP.UTF-8": true} {
		command := exec.Command(os.Args[0], "-test.run=^TestTheUsersLanguage$")
		command.Env = append(os.Environ(), "RDD_TEST_TRANSLATE=1", "LC_ALL="+language)
		output, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(output), "\n")
		if (line != text) != translated {
			t.Errorf("LC_ALL=%s: %q", language, line)
		}
	}
}
