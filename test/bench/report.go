package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one thing measured: its samples, and what their median must not exceed.
type figure struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Median  float64   `json:"median"`
	Must    float64   `json:"must,omitempty"` // 0: told, not judged
	Met     *bool     `json:"met,omitempty"`
	Samples []float64 `json:"samples"`
	// Reference are the samples of Lima alone. Factor times their median is what must be met.
	Reference []float64 `json:"reference,omitempty"`
	Factor    float64   `json:"factor,omitempty"`
}

func (f *figure) sample(value float64) { f.Samples = append(f.Samples, value) }

func (f *figure) median() float64 { return median(f.Samples) }

func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

type report struct {
	Time     time.Time `json:"time"`
	CPUs     int       `json:"cpus"`
	Load     string    `json:"load"` // the load averages before the first measurement
	Emulated bool      `json:"emulated"`
	Figures  []figure  `json:"figures"`
}

func newReport() *report {
	load, _ := os.ReadFile("/proc/loadavg")
	return &report{Time: time.Now().UTC(), CPUs: runtime.NumCPU(), Load: strings.TrimSpace(string(load))}
}

func (r *report) add(figures ...figure) {
	for _, f := range figures {
		f.Median = f.median()
		if f.Must > 0 {
			met := f.Median <= f.Must
			f.Met = &met
		}
		r.Figures = append(r.Figures, f)
	}
}

func (r *report) allMet() bool {
	return !slices.ContainsFunc(r.Figures, func(f figure) bool { return f.Met != nil && !*f.Met })
}

func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func (r *report) print(to io.Writer) {
	how := "with KVM"
	if r.Emulated {
		how = "emulated"
	}
	fmt.Fprintf(to, "\n%d CPUs, load %s, VMs %s; medians\n\n", r.CPUs, r.Load, how)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { fmt.Fprintln(table, strings.Join(cells, "\t")+"\t") }
	row("measured", "must", "spread", "Lima alone", "", "figure")
	for _, f := range r.Figures {
		row(f.value(f.Median), f.must(), f.spread(), f.reference(), f.verdict(), f.Name)
	}
	if err := table.Flush(); err != nil {
		fmt.Fprintln(to, err)
	}
}

func (f *figure) value(v float64) string {
	digits := map[string]int{"s": 3, "MB": 1, "ms": 0}[f.Unit]
	return fmt.Sprintf("%.*f %s", digits, v, f.Unit)
}

func (f *figure) must() string {
	switch {
	case f.Must == 0:
		return ""
	case f.Factor != 0:
		return fmt.Sprintf("%s (×%.2f)", f.value(f.Must), f.Factor)
	default:
		return f.value(f.Must)
	}
}

func (f *figure) spread() string {
	if len(f.Samples) < 2 {
		return ""
	}
	return fmt.Sprintf("%s…%s", strings.TrimSuffix(f.value(slices.Min(f.Samples)), " "+f.Unit), f.value(slices.Max(f.Samples)))
}

func (f *figure) reference() string {
	if len(f.Reference) == 0 {
		return ""
	}
	its := median(f.Reference)
	return fmt.Sprintf("%s (×%.3f)", f.value(its), f.Median/cmp.Or(its, 1))
}

func (f *figure) verdict() string {
	switch {
	case f.Met == nil:
		return ""
	case *f.Met:
		return "ok"
	default:
		return "MISSED"
	}
}
