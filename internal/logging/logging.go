// Package logging owns the one root of all logging of a process. It is a package of its own as it sets what Kubernetes, controller-runtime
// and Lima keep for the whole process, which must happen before any of their code runs.
package logging

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/go-logr/logr"
	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Levels beyond those of slog.
const (
	levelTrace = slog.LevelDebug - 4
	levelFatal = slog.LevelError + 4
)

// ParseLevel reads a log level: fatal, error, warn, info, debug or trace.
func ParseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "fatal":
		return levelFatal, nil
	case "error":
		return slog.LevelError, nil
	case "warn", "warning", "":
		return slog.LevelWarn, nil
	case "info":
		return slog.LevelInfo, nil
	case "debug":
		return slog.LevelDebug, nil
	case "trace":
		return levelTrace, nil
	}
	return 0, fmt.Errorf("unknown log level %q: it must be fatal, error, warn, info, debug or trace", name)
}

// New returns the root of all logging of this process, and bridges the three other loggers to it that come with
// Kubernetes, controller-runtime and Lima.
func New(w io.Writer, level slog.Level) *slog.Logger {
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(log)
	setVerbosity(verbosityOf(log))
	klog.SetSlogLogger(ForKubernetes(log).With("logger", "klog"))
	ctrl.SetLogger(logr.FromSlogHandler(ForKubernetes(log).Handler()))
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.TraceLevel)
	logrus.AddHook(logrusHook{log.With("logger", "logrus")})
	return log
}

// verbosityOf maps debug to klog's -v=2 and trace to -v=4, as external controllers are told to.
func verbosityOf(log *slog.Logger) int {
	switch ctx := context.Background(); {
	case log.Enabled(ctx, levelTrace):
		return 4
	case log.Enabled(ctx, slog.LevelDebug):
		return 2
	}
	return 0
}

func setVerbosity(verbosity int) {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	_ = flags.Set("v", strconv.Itoa(verbosity)) // a number is always accepted
}

// ForKubernetes is a logger for Kubernetes' code, controller-runtime's included.
func ForKubernetes(log *slog.Logger) *slog.Logger {
	return slog.New(capped{log.Handler(), slog.Level(-verbosityOf(log))})
}

// capped holds the loggers of Kubernetes' code to a verbosity, which they do not all look up. From 8 on they log the bodies of requests,
// with all secrets in them.
type capped struct {
	slog.Handler
	least slog.Level
}

func (c capped) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= c.least && c.Handler.Enabled(ctx, level)
}

func (c capped) WithAttrs(attrs []slog.Attr) slog.Handler {
	return capped{c.Handler.WithAttrs(attrs), c.least}
}

func (c capped) WithGroup(name string) slog.Handler {
	return capped{c.Handler.WithGroup(name), c.least}
}

type logrusHook struct{ log *slog.Logger }

func (logrusHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h logrusHook) Fire(entry *logrus.Entry) error {
	attrs := make([]slog.Attr, 0, len(entry.Data))
	for key, value := range entry.Data {
		attrs = append(attrs, slog.Any(key, value))
	}
	//nolint:sloglint // the message is what others have logged
	h.log.LogAttrs(context.Background(), logrusLevel(entry.Level), entry.Message, attrs...)
	return nil
}

func logrusLevel(level logrus.Level) slog.Level {
	switch level {
	case logrus.PanicLevel, logrus.FatalLevel:
		return levelFatal
	case logrus.ErrorLevel:
		return slog.LevelError
	case logrus.WarnLevel:
		return slog.LevelWarn
	case logrus.InfoLevel:
		return slog.LevelInfo
	case logrus.DebugLevel:
		return slog.LevelDebug
	default:
		return levelTrace
	}
}
