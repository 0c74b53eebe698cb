package login

import "os"

// Host is the plan for this system.
func Host(spec Spec, _ string) (Plan, error) { return Launchd(spec, os.Getuid()) }

func encode(content string) []byte { return []byte(content) }
