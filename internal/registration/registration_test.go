package registration

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzEntry: whatever somebody writes into the registry, it is read without a panic, and what is read can be written.
func FuzzEntry(f *testing.F) {
	for _, seed := range []string{"", "{", "null", `{"process":{"pid":1}}`, `{"process":{"pid":-1}}`, `{"healthPort":"x"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		entry, ok := parse(value)
		if !ok {
			return
		}
		again, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := parse(string(again)); !ok || !reflect.DeepEqual(got.Process, entry.Process) {
			t.Errorf("%q became %+v", value, got)
		}
	})
}
