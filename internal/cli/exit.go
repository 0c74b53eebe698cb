package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/template"
)

// The exit codes that scripts rely on.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitRefused  = 3
	exitTimeout  = 4
	exitNotFound = 5
	exitRunning  = 6
	// exitInterrupted is what a shell says of a program that an interrupt has ended: a script ends with it, too.
	exitInterrupted = 130
)

type exitRow struct {
	code int
	fits func(error) bool
}

// exitCodes is the one table that maps an error to an exit code; the first row that fits counts.
func exitCodes() []exitRow {
	return []exitRow{
		{exitUsage, is[*usageError]},
		{exitNotFound, is[*notFoundError]},
		{exitNotFound, is[*template.UnknownBuiltinError]},
		{exitRunning, func(err error) bool { return errors.Is(err, daemon.ErrRunning) }},
		{exitTimeout, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{exitTimeout, apierrors.IsTimeout},
		{exitNotFound, apierrors.IsNotFound},
		{exitNotFound, func(err error) bool { return errors.Is(err, fs.ErrNotExist) && is[*sourceError](err) }},
		{exitRefused, is[*refusedError]},
		{exitRefused, is[*template.SyntaxError]},
		{exitRefused, apierrors.IsInvalid},
		{exitRefused, apierrors.IsForbidden},
		{exitRefused, apierrors.IsBadRequest},
		{exitRefused, apierrors.IsAlreadyExists},
		{exitRefused, apierrors.IsConflict},
	}
}

func exitCode(err error) int {
	var status *statusError
	if errors.As(err, &status) {
		return status.code
	}
	for _, row := range exitCodes() {
		if row.fits(err) {
			return row.code
		}
	}
	return exitFailed
}

func is[E error](err error) bool {
	var target E
	return errors.As(err, &target)
}

// describe is the one line that the user reads; empty when everything has been said already.
func describe(err error) string {
	var status *statusError
	if errors.As(err, &status) {
		return ""
	}
	var lines []string
	for _, line := range strings.Split(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// plainly says of a connection to the control plane that broke, or never came about, what it means: an HTTP client's own words are
// about addresses.
func (a *app) plainly(err error) error {
	var request *url.Error
	if exitCode(err) != exitFailed || is[*statusError](err) || is[*sourceError](err) || !errors.As(err, &request) {
		return err
	}
	if target, invalid := url.Parse(request.URL); invalid != nil || !isLoopback(target.Hostname()) {
		return err
	}
	reason := "the connection broke"
	if dial := (*net.OpError)(nil); errors.As(request, &dial) {
		for cause := error(dial); cause != nil; cause = errors.Unwrap(cause) {
			reason = cause.Error()
		}
	} else if !errors.Is(request, io.EOF) && !errors.Is(request, io.ErrUnexpectedEOF) {
		return err
	}
	inst, unknown := a.instance()
	if unknown != nil {
		return err
	}
	return fmt.Errorf("the control plane of instance %q does not answer (%s); \"rdd svc status\" tells more", inst.Name, reason)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usage(err error) error { return &usageError{err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// notFoundError is about something that is not there by the name that the user gave.
type notFoundError struct{ message string }

func (e *notFoundError) Error() string { return e.message }

func notFoundf(format string, args ...any) error {
	return &notFoundError{message: fmt.Sprintf(format, args...)}
}

// refusedError is something that the control plane would refuse, found out before asking it.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// sourceError is about the template that the user named.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// statusError is the exit status of another program that spoke for itself.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("exit status %d", e.code) }
