package results

import (
	"math"
	"testing"
)

func TestInterval95(t *testing.T) {
	for _, tt := range []struct {
		hits, tries int
		low, high   float64
	}{
		{0, 0, 0, 1},
		{0, 5, 0, 1 - math.Pow(0.025, 0.2)},
		{5, 5, math.Pow(0.025, 0.2), 1},
		// Clopper and Pearson's limits as in R's binom.test.
		{1, 10, 0.002528579, 0.445016117},
		{9, 10, 0.554983883, 0.997471421},
	} {
		low, high := Interval95(tt.hits, tt.tries)
		if math.Abs(low-tt.low) > 1e-8 || math.Abs(high-tt.high) > 1e-8 {
			t.Errorf("Interval95(%d, %d) = %.9f, %.9f; want %.9f, %.9f", tt.hits, tt.tries, low, high, tt.low, tt.high)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		reached, missed int
		target          float64
		want            Verdict
	}{
		{0, 0, 0.95, Undecided},
		{71, 0, 0.95, Undecided},
		{72, 0, 0.95, Holds},
		{72, 1, 0.95, Undecided},
		{0, 4, 0.95, Undecided}, // leastSamples
		{0, 5, 0.95, Fails},
		{60, 10, 0.95, Fails},
		{36, 0, 0.9, Holds},
	} {
		if got := NewSamples(tt.reached, tt.missed, 3).Judge(tt.target); got != tt.want {
			t.Errorf("%d reached, %d missed, target %g: %s, want %s", tt.reached, tt.missed, tt.target, got, tt.want)
		}
	}
}

func TestNewSamples(t *testing.T) {
	if s := NewSamples(0, 0, 2); s.Reachability != nil || s.Low95 != 0 || s.High95 != 1 || s.Unknown != 2 {
		t.Errorf("NewSamples(0, 0, 2) = %+v", s)
	}
	if s := NewSamples(3, 1, 0); s.Reachability == nil || *s.Reachability != 0.75 {
		t.Errorf("NewSamples(3, 1, 0) = %+v", s)
	}
}
