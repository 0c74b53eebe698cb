//go:build !unix

package main

import "errors"

// become replaces this program by another, in the same process.
func become(string, []string, []string) error { return errors.ErrUnsupported }
