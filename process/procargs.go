package process

import (
	"bytes"
	"encoding/binary"
)

// hasVariable tells whether raw, what macOS answers to kern.procargs2, holds this environment variable (KEY=value). The
// answer is the number of arguments, the path of the program, zeros, and then the arguments and the environment, each of
// them ended by a zero.
func hasVariable(raw []byte, variable string) bool {
	if len(raw) < 4 {
		return false
	}
	arguments := binary.NativeEndian.Uint32(raw)
	_, rest, _ := bytes.Cut(raw[4:], []byte{0})
	rest = bytes.TrimLeft(rest, "\x00")
	for i := uint32(0); len(rest) > 0; i++ {
		var s []byte
		s, rest, _ = bytes.Cut(rest, []byte{0})
		if i >= arguments && string(s) == variable {
			return true
		}
	}
	return false
}
