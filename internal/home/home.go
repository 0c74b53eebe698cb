// Package home owns what the environment says about the user where it says nothing, as in a service or a bare container: Lima's
// packages panic over that while they initialise, in every command.
//
// It imports nothing but the standard library, so that it is initialised before them.
package home

import "os"

// unknown is no absolute path: whoever needs a home directory refuses it, and the other commands work.
const unknown = "."

var _ = settle(os.Getenv, os.Setenv) //nolint:forbidigo // later is too late

// variable is one of the environment, and what it is to be where it is empty.
type variable struct{ name, value string }

// settle sets the variables that are empty.
func settle(getenv func(string) string, setenv func(name, value string) error) error {
	for _, v := range defaults(getenv) {
		if getenv(v.name) != "" {
			continue
		}
		if err := setenv(v.name, v.value); err != nil {
			return err
		}
	}
	return nil
}
