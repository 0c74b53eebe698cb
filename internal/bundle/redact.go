package bundle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Removed stands where a secret was.
const Removed = "REMOVED"

// shortest is the length from which on a value is removed wherever it is: "1" or "true" would take half of everything along.
const shortest = 6

// Redactor removes secrets: those that it is told, in every form that they may have, and what looks like one.
type Redactor struct {
	values   [][]byte // longest first: one may be a part of another
	patterns []pattern
}

type pattern struct {
	looks *regexp.Regexp
	with  []byte
}

// secretName matches names whose values are nobody's business.
const secretName = `[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential|client-key-data)[\w.-]*`

// tokens are known by how they begin: GitHub's, GitLab's, Slack's, Amazon's, those of AI services, npm's and Docker's.
const tokens = `\b(?:gh[opusr]_\w{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}\b` +
	`|sk-[\w-]{24,}|npm_\w{30,}|dckr_pat_[\w-]{20,})`

// word is what a shell takes for one, if it is no flag.
const word = `("[^"\n]+"|'[^'\n]+'|[^\s"'-][^\s"']*)`

// LooksSecret tells whether a name is that of a secret.
func LooksSecret(name string) bool {
	return regexp.MustCompile(`(?i)^` + secretName + `$`).MatchString(name)
}

// NewRedactor returns one that removes the values, which are whole secrets.
func NewRedactor(values []string) *Redactor {
	r := &Redactor{patterns: []pattern{
		{regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----`), []byte(Removed)},
		{regexp.MustCompile(`\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]{5,}`), []byte(Removed)},
		{regexp.MustCompile(tokens), []byte(Removed)},
		{regexp.MustCompile(`(\bcurl\b[^\n]{0,300}?\s(?:-u|--user)[\s=]*["']?[^\s:"']+):[^\s"']+`), []byte("$1:" + Removed)},
		{regexp.MustCompile(`(\b(?:docker|podman|nerdctl|buildah|skopeo|helm|oras)\b[^\n|;&]{0,100}\blogin\b[^\n|;&]{0,200}?\s-p[\s=]+|\bsshpass\s+-p\s*|\b(?:mysql|mariadb)\w*\b[^\n|;&]{0,200}?\s-p)` + word), []byte("${1}" + Removed)},
		{regexp.MustCompile(`(\s--?password\s+)` + word), []byte("${1}" + Removed)},
		{regexp.MustCompile(`(\b(?:echo|printf)\s[^\n|:]{0,100}):[^|\n]+(\|[^\n|]*\bchpasswd\b)`), []byte("$1:" + Removed + " $2")},
		{regexp.MustCompile(`(\bchpasswd\b[^\n|:]{0,20}<<<[^\n|:]{0,100}):[^\s"']+`), []byte("$1:" + Removed)},
		{regexp.MustCompile(`(\b(?:echo|printf)\s+)[^|\n]+(\|[^\n]*--password-stdin)`), []byte("${1}" + Removed + " $2")},
		{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}`), []byte("$1 " + Removed)},
		{regexp.MustCompile(`(\b[a-zA-Z][\w+.-]*://[^\s/:@"']*):[^\s/@"']+@`), []byte("$1:" + Removed + "@")},
		{regexp.MustCompile(`(?i)("?\b` + secretName + `"?\s*[:=]\s*)("(?:[^"\\\n]|\\.)+"|'[^'\n]+'|[^\s"'{\[&;,|>][^\s,;&]*)`), []byte("${1}" + Removed)},
	}}
	known := map[string]bool{}
	for _, value := range values {
		for _, form := range forms(value) {
			if len(form) >= shortest && !known[form] {
				known[form] = true
				r.values = append(r.values, []byte(form))
			}
		}
	}
	slices.SortFunc(r.values, func(a, b []byte) int { return len(b) - len(a) })
	return r
}

// forms are those in which a secret may be written: as it is, trimmed, line by line, in base64, in JSON, in a URL.
func forms(value string) []string {
	trimmed := strings.TrimSpace(value)
	all := []string{value, trimmed}
	if lines := strings.Split(trimmed, "\n"); len(lines) > 1 {
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "-----") {
				all = append(all, line)
			}
		}
	}
	for _, text := range []string{value, trimmed} {
		all = append(all, base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)), url.QueryEscape(text))
		if quoted, err := json.Marshal(text); err == nil {
			all = append(all, strings.Trim(string(quoted), `"`))
		}
	}
	return all
}

// Clean returns text without secrets.
func (r *Redactor) Clean(text []byte) []byte {
	for _, value := range r.values {
		text = bytes.ReplaceAll(text, value, []byte(Removed))
	}
	for _, p := range r.patterns {
		text = p.looks.ReplaceAll(text, p.with)
	}
	return text
}
