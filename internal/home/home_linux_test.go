package home

import (
	"slices"
	"testing"
)

func TestEntryOf(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\n\nbad:line\nnobody:x:65534:65534::/nonexistent:/bin/false\nnone:x:7:7:::/bin/sh\n"
	for uid, want := range map[string][]variable{
		"0": {{"HOME", "/root"}}, "65534": {{"HOME", "/nonexistent"}}, "7": {{"HOME", unknown}}, "": {{"HOME", unknown}, {"USER", ""}},
		"4711": {{"HOME", unknown}, {"USER", "4711"}},
	} {
		if got := entryOf(passwd, uid); !slices.Equal(got, want) {
			t.Errorf("user %s: %v, want %v", uid, got, want)
		}
	}
}

func TestWhatIsSetIsLeftAlone(t *testing.T) {
	environ := map[string]string{"HOME": "/given"}
	err := settle(func(name string) string { return environ[name] }, func(name, value string) error { environ[name] = value; return nil })
	if err != nil || environ["HOME"] != "/given" {
		t.Errorf("%v, %v", environ, err)
	}
}
