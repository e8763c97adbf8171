package main

import (
	"testing"
	"time"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/memory"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// TestMemoryLateness: a machine may have a tunnel of natprobe's and one of the
// kernel's, and both remember in one file.
func TestMemoryLateness(t *testing.T) {
	const id = "0123456789abcdef"
	for _, test := range []struct {
		name                  string
		remembered, recalling float64
		interval, want        int
	}{
		{"exact, then late", analysis.LatenessExact, analysis.LatenessKernel, 26, 23},
		{"late, then exact", analysis.LatenessKernel, analysis.LatenessExact, 23, 23},
		{"the same", analysis.LatenessKernel, analysis.LatenessKernel, 23, 23},
		{"the least", analysis.LatenessExact, analysis.LatenessKernel, 1, 1},
		{"off", analysis.LatenessExact, analysis.LatenessKernel, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, err := memory.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			known := tuner.Known{Network: id, Family: results.IPv4, IntervalS: test.interval, MeasuredAt: time.Now()}
			if err := (networkMemory{store, test.remembered}).Remember(known); err != nil {
				t.Fatal(err)
			}
			got, ok := networkMemory{store, test.recalling}.Recall(id, results.IPv4)
			if !ok || got.IntervalS != test.want {
				t.Errorf("recalled %d s, %v, want %d", got.IntervalS, ok, test.want)
			}
		})
	}
}
