package main_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/results"
)

// TestTruthCases draws cases: the same seed gives the same, whatever is drawn
// around them, and each can be built.
func TestTruthCases(t *testing.T) {
	faults := truthFaults()
	drawn := make(map[string]bool)
	kinds := make(map[string]bool)
	for number := range 300 {
		c := newTruthCase(7, number, faults)
		if again := newTruthCase(7, number, faults); again.String() != c.String() || !cmp.Equal(again.moments(), c.moments()) {
			t.Errorf("case %d is %v once and %v another time", number, c, again)
		}
		if err := c.spec.Validate(); err != nil {
			t.Errorf("%v: %v", c, err)
		}
		truth := truthsOf(c.spec)
		if truth[results.Solitary].Seconds() < truthShortest || truth.longest().Seconds() > truthLongest ||
			truth[results.Stream] < truth[results.Solitary] || c.spec.Loss > truthMaxLoss {
			t.Errorf("%v is out of range", c)
		}
		drawn[c.spec.Name] = true
		kinds[c.fault.name] = true
	}
	if len(drawn) < 250 {
		t.Errorf("only %d of 300 labs differ", len(drawn))
	}
	if len(kinds) != len(faults)+1 {
		t.Errorf("%d kinds of faults were drawn, want %d and none", len(kinds), len(faults))
	}
}
