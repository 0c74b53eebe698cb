// Package version owns which version of rdd this is, and answers whoever asks for just that before the packages of Kubernetes are
// initialised, which takes ten times as long as the answer.
//
// It imports nothing but os, so that it is initialised before them; path/filepath would be ready only after 200 more
// (docs/decisions/0013-version-before-main.md). Only cmd/rdd imports it: it ends the process.
package version

import "os"

// Current is set by the linker.
var Current = "0.0.0-dev" //nolint:gochecknoglobals // the linker sets variables only

var _ = answer(os.Args, os.Stdout.WriteString, os.Exit) //nolint:forbidigo // later is too late

// answer does what `rdd version` and `rdd --version` do. Everything else is left to main: other flags, other names of the program,
// and telling that nothing could be written.
func answer(args []string, write func(string) (int, error), exit func(code int)) bool {
	if len(args) != 2 || args[1] != "version" && args[1] != "--version" {
		return false
	}
	if name := base(args[0]); name != "rdd" && name != "rdd.exe" {
		return false
	}
	if _, err := write("rdd " + Current + "\n"); err != nil {
		return false
	}
	exit(0)
	return true
}

func base(path string) string {
	for i := len(path); i > 0; i-- {
		if os.IsPathSeparator(path[i-1]) {
			return path[i:]
		}
	}
	return path
}
