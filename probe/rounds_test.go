package probe_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
)

// TestResolution: further rounds narrow the brackets, and they stay right.
func TestResolution(t *testing.T) {
	seeds(t, 15, func(t *testing.T, seed uint64, rng *rand.Rand) {
		between := func(least, most time.Duration) time.Duration {
			return (least + time.Duration(rng.Int64N(int64(most-least)))).Round(time.Millisecond)
		}
		nat := natmodel.Linux(between(3*time.Second, 60*time.Second), between(60*time.Second, 300*time.Second))
		nat.Timers.Oneway = between(3*time.Second, 100*time.Second)
		loss := []float64{0, 0, 0.05}[rng.IntN(3)]
		const resolution = 600 * time.Millisecond
		r := measure(t, simulate.Config{
			NATs: []natmodel.Config{nat}, Seed: seed, LossOut: loss, LossIn: loss, Outside: 10 * time.Millisecond, Jitter: 5 * time.Millisecond,
		}, probe.Config{Resolution: resolution}, nil)
		if err := check(r, truthOf(nat.Timers)); err != nil {
			t.Error(err)
		}
		for _, l := range r.Lifetimes {
			if l.UpperS == nil || *l.UpperS-l.LowerS > resolution.Seconds() && loss == 0 {
				t.Errorf("%s: bracket %s is wider than %v", l.Regime, bracket(l), resolution)
			}
		}
		t.Logf("%.0f s, %d rounds", r.Effort.ElapsedS, r.Effort.Rounds)
	})
}

// TestRoundsCutOff: what a further round would have added is no part of what a
// first bracket is.
func TestRoundsCutOff(t *testing.T) {
	nat := natmodel.Linux(6*time.Second, 12*time.Second)
	r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, Seed: 5}, probe.Config{Resolution: 500 * time.Millisecond, Budget: 25 * time.Second}, nil)
	if !r.Complete || r.Effort.ElapsedS > 26 {
		t.Errorf("complete %v after %v s", r.Complete, r.Effort.ElapsedS)
	}
	if err := check(r, truthOf(nat.Timers)); err != nil {
		t.Error(err)
	}
}
