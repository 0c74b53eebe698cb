package process

import (
	"fmt"
	"strings"
	"testing"
)

// statLine is a line as the kernel writes it for a process of that name.
func statLine(name string) string {
	return fmt.Sprintf("4711 (%s) S 1 4711 4710 34816 4711 4194304 6 0 0 0 0 0 0 0 20 0 17 0 123456789 2904064 180 "+
		"18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n", name)
}

func TestParseStat(t *testing.T) {
	for _, name := range []string{"sh", "", "a b", "(sd-pam)", ") R 1 2 3 (", "a)b", "a\nb", "\n", ") S 1 1 1 1 1 1 1", "\xff\x00"} {
		got, err := parseStat([]byte(statLine(name)))
		want := stat{pid: 4711, name: name, state: 'S', parent: 1, session: 4710, threads: 17, start: 123456789}
		if err != nil || got != want {
			t.Errorf("%q: %+v (%v), want %+v", name, got, err, want)
		}
	}
	whole := statLine("sh")
	for _, bad := range []string{"", "4711", "4711 (sh", "4711 (sh)", "4711 (sh) S 1 2", ")(", whole[:60], "x" + whole,
		strings.Replace(whole, "123456789", "-1", 1), strings.Replace(whole, " S 1 ", " S x ", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

func FuzzStat(f *testing.F) {
	for _, name := range []string{"sh", "a b", ") R 1 2 3 (", "a\nb"} {
		f.Add(name, []byte(statLine(name)))
	}
	f.Add("sh", []byte("0()\x00 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0")) // found by fuzzing
	f.Fuzz(func(t *testing.T, name string, line []byte) {
		if s, err := parseStat(line); err == nil && (s.state == 0 || s.parent < 0 && s.start == 0 && s.pid == 0) {
			t.Errorf("%q is read as %+v", line, s)
		}
		if s, err := parseStat([]byte(statLine(name))); err != nil || s.name != name || s.start != 123456789 {
			t.Errorf("the name %q hides the rest: %+v (%v)", name, s, err)
		}
	})
}
