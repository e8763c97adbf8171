package probe_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// TestPortsThatServeOneFlowAfterAnother measures a NAT that gives the external
// port of an expired mapping to the next flow: bursts meant for the one break
// the silence of the other, and would make its lifetime too long.
func TestPortsThatServeOneFlowAfterAnother(t *testing.T) {
	var strays atomic.Int32
	t.Run("seeds", func(t *testing.T) {
		seeds(t, 20, func(t *testing.T, seed uint64, rng *rand.Rand) {
			nat := natmodel.Linux(time.Duration(3+rng.IntN(10))*time.Second, time.Duration(3+rng.IntN(20))*time.Second)
			nat.Ports, nat.MinPort, nat.MaxPort = natmodel.Random, 3000, 3499
			r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, Seed: seed}, probe.Config{}, nil)
			if err := check(r, truthOf(nat.Timers)); err != nil {
				t.Error(err)
			}
			if !r.Complete {
				t.Error("the run is not complete")
			}
			for _, trial := range r.Trials {
				if trial.Reason == results.ReasonStray {
					strays.Add(1)
				}
			}
		})
	})
	if strays.Load() == 0 {
		t.Error("no trial met a stray packet: this test shows nothing")
	}
	t.Logf("%d trials met a stray packet", strays.Load())
}
