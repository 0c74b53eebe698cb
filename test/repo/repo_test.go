// Package repo owns what is true of the repository as a whole: every package says what it owns, the documents agree with
// the tree, and the rules that the linter is trusted with do fire.
package repo

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// files lists what the repository holds: what is tracked and what is about to be, as paths below root.
func files(t *testing.T, patterns ...string) []string {
	t.Helper()
	out := run(t, "git", append([]string{"ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...)
	var list []string
	for name := range strings.SplitSeq(strings.TrimRight(out, "\x00"), "\x00") {
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		t.Fatalf("no files match %q", patterns)
	}
	return list
}

// run runs a command at the root and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	comments := map[string][]string{} // directory → package comments found in it
	for _, name := range files(t, "*.go") {
		if slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		comments[dir] = append(comments[dir], ownerComment(file)...)
	}
	for dir, found := range comments {
		switch {
		case len(found) == 0:
			t.Errorf(`%s: no file has a package comment "Package %s owns …" ("Command … " for a main package)`, dir, filepath.Base(dir))
		case len(found) > 1:
			t.Errorf("%s: %d package comments; one file is to have it:\n%s", dir, len(found), strings.Join(found, "\n"))
		}
	}
}

// ownerComment returns the file's package comment, if it has one of the right form.
func ownerComment(file *ast.File) []string {
	name := strings.TrimSuffix(file.Name.Name, "_test")
	comment := strings.Join(strings.Fields(file.Doc.Text()), " ")
	if strings.HasPrefix(comment, "Package "+name+" owns ") || name == "main" && strings.HasPrefix(comment, "Command ") {
		return []string{comment}
	}
	return nil
}

func TestPackageNamesSayWhatIsInside(t *testing.T) {
	vague := []string{"util", "utils", "common", "base", "helpers", "misc", "manager", "controllers", "types"}
	for _, name := range files(t, "*.go") {
		if dir := filepath.Base(filepath.Dir(name)); slices.Contains(vague, dir) {
			t.Errorf("%s: %q says nothing about what is inside", name, dir)
		}
	}
}

func TestReadmeHasExactlyTwoCommands(t *testing.T) {
	var commands []string
	for _, block := range codeBlocks(read(t, "README.md"), "sh") {
		for line := range strings.Lines(block) {
			command, _, _ := strings.Cut(line, "#")
			if command = strings.TrimSpace(command); command != "" {
				commands = append(commands, command)
			}
		}
	}
	if want := []string{"make run", "make test"}; !slices.Equal(commands, want) {
		t.Errorf("README.md tells to run %q, want %q: they do all the set-up by themselves", commands, want)
	}
	if ci := read(t, ".ci/run"); !strings.HasSuffix(ci, "\nmake test\n") {
		t.Errorf(".ci/run does not run the README's test command, and nothing after it:\n%s", ci)
	}
}

// codeBlocks returns the fenced blocks of a language.
func codeBlocks(markdown, language string) []string {
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

func TestMakeHelpListsEveryTarget(t *testing.T) {
	var targets []string
	for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets = append(targets, match[1])
	}
	var listed []string
	for line := range strings.Lines(run(t, "make", "--no-print-directory", "help")) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "make" {
			listed = append(listed, fields[1])
		}
	}
	if !slices.Equal(targets, listed) {
		t.Errorf("make help lists %q, the Makefile has %q", listed, targets)
	}
	for _, want := range strings.Fields("setup run build test test-wine race lint generate e2e bench cross help") {
		if !slices.Contains(listed, want) {
			t.Errorf("make help does not list %s", want)
		}
	}
}

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range files(t, "*.md") {
		for _, match := range link.FindAllStringSubmatch(read(t, name), -1) {
			target, fragment, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := name
			if target != "" {
				file = filepath.Join(filepath.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, match[1])
				continue
			}
			if fragment != "" && !slices.Contains(anchors(read(t, file)), fragment) {
				t.Errorf("%s: %s has no heading #%s", name, file, fragment)
			}
		}
	}
}

// anchors returns the names that GitHub gives to the headings of a document.
func anchors(markdown string) []string {
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^#+ +(.*)$`).FindAllStringSubmatch(markdown, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		names = append(names, strings.ReplaceAll(strings.TrimSpace(name), " ", "-"))
	}
	return names
}

func TestNothingNamesTheMachineItWasWrittenOn(t *testing.T) {
	path := regexp.MustCompile(`(^|[^.\w])/(work|root|Users/\w+)/`)
	for _, name := range files(t) {
		if name == "test/repo/repo_test.go" || strings.HasPrefix(name, "test/guest/") { // the guest's /root is its own
			continue
		}
		for line := range strings.Lines(read(t, name)) {
			if found := path.FindString(line); found != "" {
				t.Errorf("%s names the path of one machine: %s", name, strings.TrimSpace(line))
			}
		}
	}
}
