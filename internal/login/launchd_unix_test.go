//go:build unix

package login

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// launchctl stands in for the real one: it refuses to load a job twice, and to let go of one that is not loaded.
const launchctl = `#!/bin/sh
dir=${0%/*}
echo "$1" >>"$dir/trace"
case $1 in
bootstrap) [ ! -e "$dir/loaded" ] || exit 5; cp "$3" "$dir/loaded" ;;
bootout) rm "$dir/loaded" 2>/dev/null || exit STATUS ;;
esac
`

// TestLaunchdReadsThePlanAnew fails when Install does not unload what is loaded, or takes what is not loaded for a failure.
func TestLaunchdReadsThePlanAnew(t *testing.T) {
	for status, fine := range map[string]bool{"3": true, "113": true, "1": false} {
		t.Run(status, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, "launchctl")
			if err := os.WriteFile(program, []byte(strings.ReplaceAll(launchctl, "STATUS", status)), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			spec := nasty()
			spec.Home = dir
			if err := Install(t.Context(), plans(t, spec)["launchd"]); (err == nil) != fine {
				t.Fatalf("Install: %v", err)
			}
			if !fine {
				return
			}
			spec.Executable = "/opt/moved/rdd"
			plan := plans(t, spec)["launchd"]
			if err := Install(t.Context(), plan); err != nil {
				t.Fatalf("Install again: %v", err)
			}
			if loaded, err := os.ReadFile(filepath.Join(dir, "loaded")); err != nil || string(loaded) != plan.Files[0].Content {
				t.Errorf("loaded: %s, %v", loaded, err)
			}
			if was, err := Uninstall(t.Context(), plan); !was || err != nil {
				t.Errorf("Uninstall: %t, %v", was, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "loaded")); !os.IsNotExist(err) {
				t.Errorf("after Uninstall it is still loaded: %v", err)
			}
			want := "bootout\nbootstrap\nbootout\nbootstrap\nbootout\n"
			if trace, err := os.ReadFile(filepath.Join(dir, "trace")); err != nil || string(trace) != want {
				t.Errorf("commands: %q, %v", trace, err)
			}
		})
	}
}
