package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

// TestVerbosity: debug is -v=2 and trace is -v=4 for all loggers of Kubernetes' code, also those that come in a context; nothing is
// ever logged at 8, where the bodies of requests are.
func TestVerbosity(t *testing.T) {
	for level, most := range map[slog.Level]int{slog.LevelWarn: -1, slog.LevelInfo: 0, slog.LevelDebug: 2, levelTrace: 4} {
		var out bytes.Buffer
		New(&out, level)
		for v := range 10 {
			klog.V(klog.Level(v)).Infof("klog %d.", v)
			klog.Background().V(v).Info(fmt.Sprintf("contextual %d.", v))
		}
		klog.Flush()
		for v := range 10 {
			for _, logger := range []string{"klog", "contextual"} {
				if got := strings.Contains(out.String(), fmt.Sprintf("%s %d.", logger, v)); got != (v <= most) {
					t.Errorf("level %v: %s logs -v=%d: %t", level, logger, v, got)
				}
			}
		}
	}
}

func TestAllLoggersEndInOne(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, slog.LevelInfo)
	log.Info("from slog")
	klog.Info("from klog")
	logrus.WithField("vm", "dev").Warn("from logrus")
	logrus.Debug("not this")
	klog.Flush()
	for _, want := range []string{`msg="from slog"`, `msg="from klog"`, `msg="from logrus" logger=logrus vm=dev`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "not this") {
		t.Errorf("the log has what is below its level:\n%s", out.String())
	}
	for _, name := range []string{"fatal", "error", "warn", "info", "debug", "trace", ""} {
		if _, err := ParseLevel(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("log level loud was accepted")
	}
}
