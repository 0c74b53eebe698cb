package login

import (
	"encoding/binary"
	"fmt"
	"os/user"
	"unicode/utf16"
)

// Host is the plan for this system; its file lies in dir.
func Host(spec Spec, dir string) (Plan, error) {
	current, err := user.Current()
	if err != nil {
		return Plan{}, fmt.Errorf("cannot tell who logs in: %w", err)
	}
	return Task(spec, current.Username, dir)
}

// encode makes what the task scheduler reads: UTF-16, with a mark that says so.
func encode(content string) []byte {
	encoded := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(content)) {
		encoded = binary.LittleEndian.AppendUint16(encoded, unit)
	}
	return encoded
}
