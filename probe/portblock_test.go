package probe_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// TestPortBlock measures NATs that give a client few ports, so that every flow
// soon has the port of an earlier one; and chains, where the next NAT still holds
// what the earlier one left. That is noticed and said, and the brackets are right.
func TestPortBlock(t *testing.T) {
	seeds(t, 25, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(4+rng.IntN(40))*time.Second, time.Duration(20+rng.IntN(120))*time.Second)
		nat.Ports = []natmodel.PortPolicy{natmodel.Preserve, natmodel.Random, natmodel.Sequential}[rng.IntN(3)]
		nat.MinPort = 30_000
		nat.MaxPort = nat.MinPort + []uint16{63, 127, 255}[rng.IntN(3)]
		nats, truth := []natmodel.Config{nat}, truthOf(nat.Timers)
		if rng.IntN(3) == 0 {
			outer := natmodel.Linux(time.Duration(4+rng.IntN(40))*time.Second, time.Duration(20+rng.IntN(120))*time.Second)
			nats = append(nats, outer)
			for regime, life := range truthOf(outer.Timers) {
				truth[regime] = min(truth[regime], life)
			}
		}
		r := measure(t, simulate.Config{NATs: nats, Seed: seed}, probe.Config{Budget: 40 * time.Minute}, nil)
		if err := check(r, truth); err != nil {
			t.Error(err)
		}
		said := slices.ContainsFunc(r.Events, func(e results.Event) bool {
			return e.Reason == results.ReasonPressure || e.Reason == results.ReasonReused
		})
		t.Logf("%d NATs, %d ports: %.0f s for a lifetime of %.0f s, complete %v", len(nats), nat.MaxPort-nat.MinPort+1,
			r.Effort.ElapsedS, truth.longest(), r.Complete)
		if !said || !r.Complete {
			t.Errorf("said %v, complete %v: %+v", said, r.Complete, r.Events)
		}
	})
}
