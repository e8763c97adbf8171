package probe_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// TestSuspend puts the machine to sleep as Linux does it: the monotonic clock
// stands still with the program, the boot clock goes on, and so do NAT and
// reflector. What comes in meanwhile is lost.
func TestSuspend(t *testing.T) {
	seeds(t, 40, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(3+rng.IntN(20))*time.Second, time.Duration(20+rng.IntN(60))*time.Second)
		loss := []float64{0, 0, 0.1}[rng.IntN(3)]
		length := 1500*time.Millisecond + time.Duration(rng.Int64N(int64(40*time.Second)))
		when := time.Duration(rng.Int64N(int64(18 * time.Second)))
		var record *results.Record
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed})
			defer w.close()
			begun := time.Now()
			var asleep atomic.Int64
			p := probe.Prober{
				Config: probe.Config{Reflector: reflectorAddr(), Max: 2 * time.Minute, Seed: seed + 1},
				Listen: w.net.Client().ListenPacket, Ports: fixedPorts(seed),
			}
			p.SetClocks(
				func() time.Duration { return time.Since(begun) - time.Duration(asleep.Load()) },
				func() time.Duration { return time.Duration(asleep.Load()) },
			)
			p.Observe = func(probe.Progress) {
				if asleep.Load() == 0 && time.Since(begun) > when {
					w.net.Outage(length)
					<-time.After(length)
					asleep.Store(int64(length))
				}
			}
			var err error
			if record, err = p.Measure(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
		if err := check(record, truthOf(nat.Timers)); err != nil {
			t.Errorf("asleep for %v after %v: %v", length, when, err)
		}
		if !record.Complete {
			t.Errorf("not complete after %.0f s: %+v", record.Effort.ElapsedS, record.Events)
		}
		if !slices.ContainsFunc(record.Events, func(e results.Event) bool { return e.Reason == results.ReasonSuspend }) {
			t.Errorf("asleep for %v after %v: not noticed: %+v", length, when, record.Events)
		}
	})
}
