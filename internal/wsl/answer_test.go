package wsl

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	for raw, want := range map[string]string{
		"":                          "",
		"\xff\xfea\x00":             "a",
		"a\x00\r\x00\n\x00":         "a\r\n",
		"\xe4\x00":                  "ä",
		"=\xd8\x00\xde":             "😀",
		"a\x00b":                    "a",
		"\xef\xbb\xbfDienst fehlt ": "Dienst fehlt ",
		"caf\xe9":                   "caf\ufffd",
	} {
		if got := decode([]byte(raw)); got != want {
			t.Errorf("%q is read as %q, want %q", raw, got, want)
		}
	}
}

func TestQuoteIsOneShortLine(t *testing.T) {
	got := quote("a\r\n\r\n b" + strings.Repeat(" ä", maxQuote))
	if !strings.HasPrefix(got, "a b ä") || len(got) > maxQuote+len("…") || !utf8.ValidString(got) {
		t.Errorf("%q", got)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{"a\x00\r\x00\n\x00", "Ubuntu\r\nlima-one\r\n", "\xff\xfe\x00\xd8", "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := decode(raw)
		if !utf8.ValidString(text) || !utf8.ValidString(quote(text)) || strings.ContainsAny(quote(text), "\r\n\x00") {
			t.Errorf("%q is read as %q", raw, text)
		}
		if slices.ContainsFunc(names(text), func(name string) bool { return name == "" || strings.ContainsAny(name, "\n") }) {
			t.Errorf("%q names %q", raw, names(text))
		}
	})
}
