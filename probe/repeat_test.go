package probe_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// TestRepeatSharp: where a timer is sharp, repeats change nothing.
func TestRepeatSharp(t *testing.T) {
	seeds(t, 15, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(3+rng.IntN(30))*time.Second, time.Duration(10+rng.IntN(60))*time.Second)
		loss := []float64{0, 0, 0.1}[rng.IntN(3)]
		r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed},
			probe.Config{Repeat: 3, Budget: 30 * time.Minute}, nil)
		if err := check(r, truthOf(nat.Timers)); err != nil {
			t.Error(err)
		}
		for _, l := range r.Lifetimes {
			if l.Shape != results.Sharp {
				t.Errorf("%s: the lifetime is a %s: %+v", l.Regime, l.Shape, l)
			}
		}
		if !r.Complete {
			t.Error("not complete")
		}
		t.Logf("%.0f s, %d rounds", r.Effort.ElapsedS, r.Effort.Rounds)
	})
}

// TestRepeatLazy measures NATs that sweep dead mappings out now and then: a
// lifetime is anything from the timer to a sweep more. One round sees one moment
// of the sweep; repeats see the band.
func TestRepeatLazy(t *testing.T) {
	var mu sync.Mutex
	var once, often, runs float64 // once and often are shares of the bands that brackets span
	t.Run("seeds", func(t *testing.T) {
		seeds(t, 20, func(t *testing.T, seed uint64, rng *rand.Rand) {
			nat := natmodel.Linux(time.Duration(10+rng.IntN(30))*time.Second, time.Duration(20+rng.IntN(60))*time.Second)
			nat.Sweep = time.Duration(4+rng.IntN(8)) * time.Second
			network := simulate.Config{NATs: []natmodel.Config{nat}, Seed: seed}
			cover := func(cfg probe.Config) (share float64) {
				cfg.Regimes = []results.Regime{results.Exchange}
				cfg.Budget = 2 * time.Hour
				r := measure(t, network, cfg, nil)
				l := r.Lifetimes[0]
				from, to := nat.Timers.Exchange.Seconds(), (nat.Timers.Exchange + nat.Sweep).Seconds()
				if l.UpperS == nil || l.LowerS > to || *l.UpperS < from {
					t.Errorf("bracket %s of a band from %v to %v s", bracket(l), from, to)
					return 0
				}
				t.Logf("repeat %d: %s, a %s of [%v, %v) in %.0f s", cfg.Repeat, bracket(l), l.Shape, from, to, r.Effort.ElapsedS)
				return (min(*l.UpperS, to) - max(l.LowerS, from)) / (to - from)
			}
			one, ten := cover(probe.Config{}), cover(probe.Config{Repeat: 10})
			mu.Lock()
			defer mu.Unlock()
			once, often, runs = once+one, often+ten, runs+1
		})
	})
	t.Logf("one round spans %.0f %% of a band, ten repeats %.0f %%", 100*once/runs, 100*often/runs)
	if often/runs < 0.6 {
		t.Errorf("ten repeats span %.0f %% of the bands", 100*often/runs)
	}
}
