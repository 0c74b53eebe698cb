package repo

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommandsInDocumentsExist looks up every rdd command that a document names in the generated reference, with its flags.
func TestCommandsInDocumentsExist(t *testing.T) {
	known := reference(t)
	fenced := regexp.MustCompile("(?ms)^```.*?^```$")
	inText := regexp.MustCompile("(?:`|\\$\\()rdd ([^`]*)")
	typed := regexp.MustCompile(`(?m)^rdd (.*)$`)
	for _, document := range files(t, "README.md", "CHANGELOG.md", "docs/*.md") {
		if strings.HasPrefix(document, "docs/reference/") || strings.HasPrefix(document, "docs/decisions/") {
			continue
		}
		text := read(t, document)
		found := inText.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1)
		for _, block := range codeBlocks(text, "sh") {
			found = append(found, typed.FindAllStringSubmatch(block, -1)...)
		}
		for _, match := range found {
			if problem := known.check(strings.Fields(match[1])); problem != "" {
				t.Errorf("%s: rdd %s: %s", document, match[1], problem)
			}
		}
	}
}

// commands holds what the reference says about each command, by its words after "rdd".
type commands map[string]string

func reference(t *testing.T) commands {
	t.Helper()
	known := commands{"hostagent": "", "completion": "", "help": ""} // not in the reference
	for section := range strings.SplitSeq(read(t, "docs/reference/rdd.md"), "\n## `rdd") {
		title, help, _ := strings.Cut(section, "`")
		known[strings.TrimSpace(title)] = help
	}
	return known
}

// check tells what is wrong with a command line, given as words.
func (c commands) check(words []string) string {
	for len(words) > 0 && (strings.HasPrefix(words[0], "--instance") || words[0] == "…") {
		words = words[1:]
	}
	if len(words) == 0 {
		return ""
	}
	aliases := map[string]string{"svc": "service", "lima": "limavm", "vm": "limavm"}
	command := words[0]
	if full, ok := aliases[command]; ok {
		command = full
	}
	if _, ok := c[command]; !ok {
		return "there is no such command"
	}
	if command == "service" || command == "limavm" {
		if len(words) == 1 {
			return ""
		}
		command += " " + words[1]
	}
	help, ok := c[command]
	switch {
	case !ok:
		return "there is no such command"
	case help == "", command == "ctl", command == "kubectl": // flags that are not ours
		return ""
	}
	for _, word := range words {
		flag, _, _ := strings.Cut(strings.Trim(word, `.,;)"`), "=")
		if flag == "--" {
			break
		}
		if strings.HasPrefix(flag, "-") && !slices.Contains(strings.Fields(strings.ReplaceAll(help, ",", " ")), flag) {
			return "there is no flag " + flag
		}
	}
	return ""
}
