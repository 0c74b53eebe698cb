package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

// TestVerbosity: debug is -v=2 and trace is -v=4 for all loggers of Kubernetes' code, also those that come in a context; nothing is
// ever logged at 8, where the bodies of requests are.
func TestVerbosity(t *testing.T) {
	for level, most := range map[slog.Level]int{slog.LevelWarn: -1, slog.LevelInfo: 0, slog.LevelDebug: 2, levelTrace: 4} {
		var out bytes.Buffer
		NewLogger(&out, level)
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
