package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// The benchmarks run the control plane in a process of its own, as a user's first command would: from exec to ready.

func BenchmarkStartFirst(b *testing.B) {
	for _, n := range []int{1, 14} {
		b.Run(fmt.Sprintf("crds=%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				cfg := childConfig{Dir: b.TempDir(), CRDs: manyCRDs(n)}
				b.StartTimer()
				c := startChild(b, cfg)
				b.StopTimer()
				c.stop(b)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkStartAgain(b *testing.B) {
	for _, n := range []int{1, 14} {
		b.Run(fmt.Sprintf("crds=%d", n), func(b *testing.B) {
			cfg := childConfig{Dir: b.TempDir(), CRDs: manyCRDs(n)}
			startChild(b, cfg).stop(b)
			for b.Loop() {
				c := startChild(b, cfg)
				b.StopTimer()
				c.stop(b)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkIdle tells what a control plane that nobody uses costs. RDD_BENCH_IDLE is how long to look, 60 s unless set.
func BenchmarkIdle(b *testing.B) {
	period := time.Minute
	if d, err := time.ParseDuration(os.Getenv("RDD_BENCH_IDLE")); err == nil {
		period = d
	}
	cfg := childConfig{Dir: b.TempDir(), CRDs: manyCRDs(1)}
	c := startChild(b, cfg)
	for range b.N {
		time.Sleep(5 * time.Second) // let the start come to rest
		before := cpuTime(b, c.cmd.Process.Pid)
		time.Sleep(period)
		used := cpuTime(b, c.cmd.Process.Pid) - before
		b.ReportMetric(float64(used.Milliseconds())*float64(time.Minute)/float64(period), "cpu-ms/min")
		b.ReportMetric(float64(procStatus(b, c.cmd.Process.Pid, "VmRSS"))/1024, "rss-MB")
		b.ReportMetric(float64(procStatus(b, c.cmd.Process.Pid, "RssAnon"))/1024, "anon-MB")
	}
	c.stop(b)
}

func manyCRDs(n int) []*apiextensionsv1.CustomResourceDefinition {
	crds := []*apiextensionsv1.CustomResourceDefinition{widgetCRD()}
	for i := 1; i < n; i++ {
		crds = append(crds, crd(fmt.Sprintf("gadget%ds", i), fmt.Sprintf("Gadget%d", i)))
	}
	return crds
}

func cpuTime(b *testing.B, pid int) time.Duration {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		b.Skip("no /proc here")
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return time.Duration(user+system) * time.Second / 100
}

// procStatus is a field of /proc/PID/status, in kB.
func procStatus(b *testing.B, pid int, field string) int {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		b.Skip("no /proc here")
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				b.Fatal(err)
			}
			return kb
		}
	}
	b.Fatalf("no %s", field)
	return 0
}
