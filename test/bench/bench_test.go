package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		samples []float64
		want    float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 9, 1, 2}, 3},
	} {
		if got := median(test.samples); got != test.want {
			t.Errorf("median of %v: %v, want %v", test.samples, got, test.want)
		}
	}
}

func TestReportJudgesMedians(t *testing.T) {
	r := newReport()
	r.add(
		figure{Name: "met", Unit: "s", Must: 1, Samples: []float64{0.5, 7, 0.6}},
		figure{Name: "told", Unit: "s", Samples: []float64{3}},
	)
	if !r.allMet() {
		t.Error("a median below its mark counts as missed")
	}
	r.add(figure{Name: "missed", Unit: "s", Must: 1.03 * 2, Factor: 1.03, Samples: []float64{2.5}, Reference: []float64{2}})
	if r.allMet() {
		t.Error("a median above its mark counts as met")
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{"0.600 s", "0.500…7.000 s", "2.060 s (×1.03)", "2.000 s (×1.250)", "MISSED  missed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func TestParseCPU(t *testing.T) {
	got, err := parseCPU("42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 100")
	if err != nil || got != 1750*time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", "42 (x) S 1 2 3 4 5 6 7 8 9 10 x 25 0"} {
		if got, err := parseCPU(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
