package probe

import (
	"testing"

	"github.com/natprobe/natprobe/results"
)

// TestUnconfirmedExpiryIsMarked: loss may take a whole burst; the record says so
// where repeats of the same gap lived.
func TestUnconfirmedExpiryIsMarked(t *testing.T) {
	trial := func(gap float64, outcome results.Outcome) results.Trial {
		return results.Trial{Regime: results.Stream, GapS: gap, MeasuredGapS: gap, BoundS: gap, Outcome: outcome}
	}
	trials := []results.Trial{
		trial(10, results.Expired), trial(10, results.Alive), trial(10, results.Alive),
		trial(20, results.Alive), trial(30, results.Expired), trial(31, results.Expired),
	}
	life := assess(results.Stream, trials)
	if life.LowerS != 20 || life.UpperS == nil || *life.UpperS != 30 || life.Inconclusive != 1 {
		t.Errorf("lifetime %+v", life)
	}
	if got := trials[0]; got.Outcome != results.Inconclusive || got.Reason != results.ReasonDisputed || got.BoundS != 0 {
		t.Errorf("disputed trial %+v", got)
	}
	if got := trials[4]; got.Outcome != results.Expired {
		t.Errorf("undisputed trial %+v", got)
	}
	if again := results.Bracket(results.Stream, trials); again.LowerS != life.LowerS || *again.UpperS != *life.UpperS {
		t.Errorf("marked trials give another bracket: %+v", again)
	}
}
