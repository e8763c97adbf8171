package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/results"
)

func TestTruthVerdict(t *testing.T) {
	at := func(s float64) *float64 { return &s }
	for name, test := range map[string]struct {
		lower float64
		upper *float64
		want  verdict
	}{
		"contains it":            {9.5, at(10.5), bracketHolds},
		"ends at it":             {9.5, at(10), bracketHolds},
		"a tick below":           {9.1, at(9.991), bracketHolds},
		"below":                  {9.1, at(9.98), bracketShort},
		"below, open below":      {0, at(9.98), bracketShort},
		"begins at it":           {10, at(10.7), bracketHolds},
		"a tick above":           {10.009, at(10.7), bracketHolds},
		"above":                  {10.02, at(10.7), bracketLong},
		"above, open above":      {10.02, nil, bracketLong},
		"open above":             {9.5, nil, bracketOpen},
		"open below":             {0, at(10.7), bracketOpen},
		"nothing is known of it": {0, nil, bracketOpen},
	} {
		b := truthBracket{regime: results.Stream, truth: 10, lower: test.lower, upper: test.upper}
		if got := b.verdict(); got != test.want {
			t.Errorf("%s: verdict %v of %v to %v, want %v", name, got, test.lower, test.upper, test.want)
		}
	}
}

// TestTruthRow sums up some runs.
func TestTruthRow(t *testing.T) {
	at := func(s float64) *float64 { return &s }
	k := func(s int) *int { return &s }
	row := newTruthRow("some", []truthResult{
		{
			brackets: []truthBracket{{truth: 10, lower: 9.5, upper: at(10.25)}, {truth: 20, lower: 19.5, upper: at(21)}},
			complete: true, longestS: 20, allowedS: 28, elapsedS: 25, interval: k(8), best: k(8), trials: 10, inconclusive: 1,
		},
		{
			brackets: []truthBracket{{truth: 10, lower: 9.5}, {truth: 20, lower: 18, upper: at(19)}},
			events:   2, longestS: 20, allowedS: 28, elapsedS: 30, interval: k(7), best: k(10), trials: 10, inconclusive: 3,
		},
		{
			brackets: []truthBracket{{truth: 10, lower: 10.5, upper: at(11.5)}},
			complete: true, longestS: 10, allowedS: 16.5, elapsedS: 16.5, interval: k(9), best: k(8),
		},
		{complete: true, longestS: 10, allowedS: 16.5, elapsedS: 10, best: k(4)},
		{complete: true, longestS: 1, allowedS: 6, elapsedS: 1},
		{complete: true, longestS: 10, allowedS: 16.5, elapsedS: 10, interval: k(2), best: k(3)},
	})
	want := truthRow{
		name: "some", runs: 6,
		verdicts: [4]int{bracketHolds: 2, bracketOpen: 1, bracketShort: 1, bracketLong: 1},
		widths:   []float64{0.75, 1.5},
		told:     1, incomplete: 1, ratios: []float64{1.25, 1.5, 1.65, 1, 1, 1}, inTime: 5,
		decidable: 5, undecided: 1, enough: 2, near: 3, above: 1,
		trials: 20, inconclusive: 4,
	}
	if diff := cmp.Diff(want, row, cmp.AllowUnexported(truthRow{})); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	if got := row.closed(); got != 4 {
		t.Errorf("%d closed brackets, want 4", got)
	}
}

// TestTruthTable looks at which runs each row counts.
func TestTruthTable(t *testing.T) {
	run := func(loss float64, nats int, fault string) truthResult {
		return truthResult{loss: loss, nats: nats, ports: "preserved ports", strictness: "none closed outside", fault: fault, longestS: 1}
	}
	rows := make(map[string]string)
	for _, line := range strings.Split(truthTable([]truthResult{
		run(0, 1, noFault), run(0.05, 2, noFault), run(0.051, 3, noFault), run(0.2, 3, noFault),
		run(0, 1, "NAT reboot"), run(0.2, 1, "NAT reboot"), run(0, 1, "silent outage"),
	}), "\n") {
		if cells := strings.Split(line, " | "); len(cells) > 2 {
			rows[strings.TrimPrefix(cells[0], "| ")] = cells[1]
		}
	}
	for name, runs := range map[string]int{
		"all": 7, "**no fault**": 4, "no loss": 1, "loss to 5 %": 1, "loss 5 to 10 %": 1, "loss 10 to 20 %": 1,
		"one NAT": 1, "2 NATs in a row": 1, "3 NATs in a row": 2, "preserved ports": 4,
		"**a fault**": 3, "NAT reboot": 2, "silent outage": 1,
	} {
		if rows[name] != fmt.Sprint(runs) {
			t.Errorf("the row %q counts %q runs, want %d", name, rows[name], runs)
		}
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{3, 1, 2, 5, 4}
	for share, want := range map[float64]float64{0: 1, 0.2: 1, 0.5: 3, 0.9: 5, 1: 5} {
		if got := quantile(values, share); got != want {
			t.Errorf("quantile %v of %v is %v, want %v", share, values, got, want)
		}
	}
}
