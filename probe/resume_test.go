package probe_test

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

func refuted(e results.Event) bool { return e.Reason == results.ReasonEarlier }

// TestResume cuts runs off at random moments and goes on from their records:
// brackets are right, and gaps that concluded aren't tried again, but for the ends
// of brackets. Where a burst straddled the timer and loss took its first copy, the
// same gap may expire in one run and live in the other; then the earlier record is
// given up, which costs time only.
func TestResume(t *testing.T) {
	var runs, given atomic.Int32
	t.Run("seeds", func(t *testing.T) { resumeSeeds(t, &runs, &given) })
	if given.Load()*5 > runs.Load() {
		t.Errorf("%d of %d runs gave up the earlier record of the same path", given.Load(), runs.Load())
	}
}

func resumeSeeds(t *testing.T, runs, given *atomic.Int32) {
	seeds(t, 30, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(3+rng.IntN(30))*time.Second, time.Duration(20+rng.IntN(100))*time.Second)
		loss := []float64{0, 0, 0.1}[rng.IntN(3)]
		network := simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed}
		truth := truthOf(nat.Timers)
		cut := time.Duration((0.2 + 0.9*rng.Float64()) * truth.longest() * float64(time.Second))
		first := measure(t, network, probe.Config{Budget: cut}, nil)
		second := measure(t, network, probe.Config{Resume: first}, nil)
		if err := check(second, truth); err != nil {
			t.Error(err)
		}
		runs.Add(1)
		if slices.ContainsFunc(second.Events, refuted) {
			given.Add(1)
			return
		}
		if !second.Complete || second.Resumes != first.ID {
			t.Errorf("complete %v, resumes %q: %+v", second.Complete, second.Resumes, second.Events)
		}
		conclusive := func(r *results.Record, from time.Time) (n int) {
			for _, trial := range r.Trials {
				if trial.Outcome != results.Inconclusive && !trial.StartedAt.Before(from) {
					n++
				}
			}
			return n
		}
		known := conclusive(first, first.StartedAt)
		whole := conclusive(measure(t, network, probe.Config{}, nil), time.Time{})
		again := conclusive(second, time.Time{}) - known
		t.Logf("cut after %v: %d trials known, %d more, %d in a whole run", cut.Round(time.Second), known, again, whole)
		if loss == 0 && again > whole-known+3*len(results.Regimes()) {
			t.Errorf("cut after %v: %d trials were known, %d more were made, and a whole run makes %d", cut, known, again, whole)
		}
	})
}

// TestResumeElsewhere goes on from the record of another network, as on a laptop
// that has moved: it is found out, and the brackets are those of this network.
func TestResumeElsewhere(t *testing.T) {
	var found atomic.Int32
	t.Run("seeds", func(t *testing.T) {
		seeds(t, 30, func(t *testing.T, seed uint64, rng *rand.Rand) {
			one := func() natmodel.Config {
				return natmodel.Linux(time.Duration(3+rng.IntN(30))*time.Second, time.Duration(3+rng.IntN(60))*time.Second)
			}
			here, there := one(), one()
			earlier := measure(t, simulate.Config{NATs: []natmodel.Config{there}, Seed: seed + 1}, probe.Config{Budget: time.Duration(5+rng.IntN(60)) * time.Second}, nil)
			r := measure(t, simulate.Config{NATs: []natmodel.Config{here}, Seed: seed}, probe.Config{Resume: earlier, Budget: 10 * time.Minute}, nil)
			if err := check(r, truthOf(here.Timers)); err != nil {
				t.Errorf("%v\n%+v", err, r.Events)
			}
			if slices.ContainsFunc(r.Events, refuted) {
				found.Add(1)
				if r.Resumes != "" {
					t.Error("the record still rests on the refuted one")
				}
			}
			if !r.Complete {
				for _, l := range r.Lifetimes {
					t.Logf("%s %s %+v", l.Regime, bracket(l), l)
				}
				for _, x := range r.Trials[max(0, len(r.Trials)-30):] {
					t.Logf("%+v", x)
				}
				t.Errorf("not complete: %+v, here %v there %v", r.Events, here.Timers, there.Timers)
			}
		})
	})
	if found.Load() == 0 {
		t.Error("no run found out")
	}
	t.Logf("%d runs found out", found.Load())
}
