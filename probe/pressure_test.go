package probe_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// TestPressure measures NATs with room for fewer mappings than a default run
// opens: that is noticed and said, and the brackets are right.
func TestPressure(t *testing.T) {
	seeds(t, 15, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(5+rng.IntN(25))*time.Second, time.Duration(30+rng.IntN(60))*time.Second)
		nat.MaxMappings = 100 + rng.IntN(60)
		nat.Full = natmodel.EvictUnreplied
		r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, Seed: seed}, probe.Config{Max: 2 * time.Minute, Budget: 15 * time.Minute}, nil)
		if err := check(r, truthOf(nat.Timers)); err != nil {
			t.Errorf("room for %d: %v", nat.MaxMappings, err)
		}
		said := false
		for _, e := range r.Events {
			said = said || e.Reason == results.ReasonPressure
		}
		t.Logf("room for %d: said %v, %.0f s, complete %v", nat.MaxMappings, said, r.Effort.ElapsedS, r.Complete)
		if !said {
			t.Errorf("room for %d mappings: nothing was said of it", nat.MaxMappings)
		}
	})
}

// TestNoPressure: loss is no pressure, and neither is an outage.
func TestNoPressure(t *testing.T) {
	for _, loss := range []float64{0, 0.1, 0.3} {
		r := measure(t, simulate.Config{
			NATs: []natmodel.Config{natmodel.Linux(6*time.Second, 12*time.Second)}, LossOut: loss, LossIn: loss, Seed: 8,
		}, probe.Config{}, nil)
		for _, e := range r.Events {
			if e.Reason == results.ReasonPressure {
				t.Errorf("at a loss of %v: %s", loss, e.Detail)
			}
		}
	}
}

// TestNoPressureInOutages: new flows get nothing through while the path is cut, and
// neither does the control flow.
func TestNoPressureInOutages(t *testing.T) {
	seeds(t, 30, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(5+rng.IntN(20))*time.Second, time.Duration(20+rng.IntN(40))*time.Second)
		loss := []float64{0, 0, 0.05}[rng.IntN(3)]
		r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed}, probe.Config{},
			func(ctx context.Context, w *world) {
				for range 2 {
					if !sleep(ctx, time.Duration(rng.Int64N(int64(14*time.Second)))) {
						return
					}
					w.net.Outage(time.Duration(rng.Int64N(int64(6 * time.Second))))
				}
			})
		if err := check(r, truthOf(nat.Timers)); err != nil {
			t.Error(err)
		}
		for _, e := range r.Events {
			if e.Reason == results.ReasonPressure {
				t.Errorf("%+v", r.Events)
			}
		}
	})
}
