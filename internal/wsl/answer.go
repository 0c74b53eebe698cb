package wsl

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// decode makes text of an answer. wsl.exe writes UTF-16 in little-endian order and without a mark, or UTF-8 where the user
// has set WSL_UTF8; what runs in a distribution writes whatever it likes. Only UTF-16 has zero bytes.
func decode(raw []byte) string {
	if bytes.IndexByte(raw, 0) < 0 && !bytes.HasPrefix(raw, []byte{0xff, 0xfe}) {
		return strings.TrimPrefix(strings.ToValidUTF8(string(raw), string(utf8.RuneError)), "\ufeff")
	}
	units := make([]uint16, len(raw)/2) // half a unit at the end was cut off
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff")
}

// names reads a list that has one name a line.
func names(answer string) []string {
	var all []string
	for line := range strings.Lines(answer) {
		if name := strings.Trim(line, " \t\r\n\x00"); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// isEmptyList recognises what wsl.exe fails with where nothing is registered: the code in every language, or the English text
// of versions that tell no code.
func isEmptyList(answer string) bool {
	return strings.Contains(answer, "WSL_E_DEFAULT_DISTRO_NOT_FOUND") || strings.Contains(answer, "has no installed distributions")
}

// quote makes one line of an answer, for an error.
func quote(answer string) string {
	line := strings.Join(strings.Fields(strings.ReplaceAll(answer, "\x00", " ")), " ")
	if line == "" {
		return `it says nothing; see "wsl --status"`
	}
	if len(line) > maxQuote {
		line = strings.ToValidUTF8(line[:maxQuote], "") + "…"
	}
	return line
}
