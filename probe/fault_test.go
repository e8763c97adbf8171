package probe_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// TestFaults lets one thing after another happen at random moments of random
// measurements. Brackets may stay open; none may be wrong.
func TestFaults(t *testing.T) {
	tests := []struct {
		name   string
		strike func(*world, *rand.Rand)
		notice results.Reason // an event that at least one run must tell
	}{
		{"NAT reboot", func(w *world, _ *rand.Rand) {
			if err := w.net.RebootNAT(0); err != nil {
				w.t.Error(err)
			}
		}, results.ReasonNATReboot},
		{"reflector restart", func(w *world, _ *rand.Rand) { w.restartReflector() }, results.ReasonRestart},
		{"outage of 5 s", func(w *world, _ *rand.Rand) { w.net.Outage(5 * time.Second) }, results.ReasonOutage},
		{"address change", func(w *world, rng *rand.Rand) {
			if err := w.net.ChangeAddress(netip.AddrFrom4([4]byte{203, 0, 113, byte(2 + rng.IntN(200))})); err != nil {
				w.t.Error(err)
			}
		}, results.ReasonAddressChange},
		{"outage that reboots the NAT", func(w *world, _ *rand.Rand) {
			w.net.Outage(3 * time.Second)
			if err := w.net.RebootNAT(0); err != nil {
				w.t.Error(err)
			}
		}, results.ReasonOutage},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			noticed := 0
			t.Run("seeds", func(t *testing.T) {
				seeds(t, 60, func(t *testing.T, seed uint64, rng *rand.Rand) {
					nat := natmodel.Linux(time.Duration(3+rng.IntN(30))*time.Second, time.Duration(3+rng.IntN(90))*time.Second)
					nat.Ports = []natmodel.PortPolicy{natmodel.Preserve, natmodel.Random}[rng.IntN(2)]
					truth := truthOf(nat.Timers)
					loss := []float64{0, 0, 0.05, 0.1}[rng.IntN(4)]
					strikes := 1 + rng.IntN(2)
					r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed},
						probe.Config{Max: 2 * time.Minute, Budget: 20 * time.Minute}, func(ctx context.Context, w *world) {
							for range strikes {
								if !sleep(ctx, time.Second+time.Duration(rng.Float64()*truth.longest()*float64(time.Second))) {
									return
								}
								test.strike(w, rng)
							}
						})
					if err := check(r, truth); err != nil {
						t.Errorf("%v\nevents: %+v", err, r.Events)
					}
					for _, event := range r.Events {
						if event.Reason == test.notice {
							noticed++
							break
						}
					}
				})
			})
			if noticed == 0 {
				t.Errorf("no run noticed it as %q", test.notice)
			}
			t.Logf("noticed in %d runs", noticed)
		})
	}
}

// TestStalls lets the program stand still, as a laptop that sleeps or a machine
// that is overloaded does: whoever watches it holds it up. Packets come in
// meanwhile, and wait or are lost.
func TestStalls(t *testing.T) {
	var noticed atomic.Int32
	t.Run("seeds", func(t *testing.T) {
		seeds(t, 40, func(t *testing.T, seed uint64, rng *rand.Rand) {
			nat := natmodel.Linux(time.Duration(3+rng.IntN(20))*time.Second, time.Duration(3+rng.IntN(60))*time.Second)
			loss := []float64{0, 0, 0.1}[rng.IntN(3)]
			begun, stalls := time.Time{}, 1+rng.IntN(4)
			next := time.Duration(rng.IntN(15000)) * time.Millisecond
			observe := func(probe.Progress) {
				if begun.IsZero() {
					begun = time.Now()
				}
				if stalls > 0 && time.Since(begun) > next {
					stalls--
					<-time.After(time.Duration(300+rng.IntN(4000)) * time.Millisecond)
					next = time.Since(begun) + time.Duration(rng.IntN(10000))*time.Millisecond
				}
			}
			r := watched(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed},
				probe.Config{Max: 2 * time.Minute}, nil, observe)
			if err := check(r, truthOf(nat.Timers)); err != nil {
				t.Error(err)
			}
			if !r.Complete || r.Effort.ElapsedS > 300 {
				t.Errorf("complete %v after %.0f s: %+v", r.Complete, r.Effort.ElapsedS, r.Events)
			}
			for _, event := range r.Events {
				if event.Reason == results.ReasonSuspend {
					noticed.Add(1)
					break
				}
			}
		})
	})
	if noticed.Load() == 0 {
		t.Error("no run noticed that it stood still")
	}
	t.Logf("noticed in %d runs", noticed.Load())
}

// TestTimeUnderLoss measures short lifetimes on a path that loses one packet in
// ten each way. Now and then a burst's beacons are lost too, and its trial takes
// its whole gap again; that must stay rare.
func TestTimeUnderLoss(t *testing.T) {
	var late, runs atomic.Int32
	t.Run("seeds", func(t *testing.T) {
		seeds(t, 60, func(t *testing.T, seed uint64, rng *rand.Rand) {
			nat := natmodel.Linux(time.Duration(3+rng.IntN(30))*time.Second, time.Duration(3+rng.IntN(30))*time.Second)
			r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: 0.1, LossIn: 0.1, Seed: seed}, probe.Config{}, nil)
			truth := truthOf(nat.Timers)
			if err := check(r, truth); err != nil {
				t.Error(err)
			}
			runs.Add(1)
			if allowed := 1.15*truth.longest() + 13; r.Effort.ElapsedS > allowed {
				late.Add(1)
				t.Logf("%.1f s instead of %.1f s: %v", r.Effort.ElapsedS, allowed, nat.Timers)
			}
		})
	})
	if late.Load()*10 > runs.Load() {
		t.Errorf("%d of %d runs took too long", late.Load(), runs.Load())
	}
	t.Logf("%d of %d runs took too long", late.Load(), runs.Load())
}

// TestHeavyLoss measures where a whole burst may be lost: right or open.
func TestHeavyLoss(t *testing.T) {
	seeds(t, 25, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(3+rng.IntN(20))*time.Second, time.Duration(3+rng.IntN(40))*time.Second)
		r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: 0.3, LossIn: 0.3, Seed: seed},
			probe.Config{Max: time.Minute, Budget: 10 * time.Minute}, nil)
		if err := check(r, truthOf(nat.Timers)); err != nil {
			t.Error(err)
		}
	})
}

// TestBurstyLoss loses everything for spells as long as a burst.
func TestBurstyLoss(t *testing.T) {
	seeds(t, 25, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(3+rng.IntN(20))*time.Second, time.Duration(3+rng.IntN(60))*time.Second)
		r := measure(t, simulate.Config{
			NATs: []natmodel.Config{nat}, LossOut: 0.05, LossIn: 0.1, Burst: 400 * time.Millisecond, Seed: seed,
		}, probe.Config{Max: 90 * time.Second, Budget: 15 * time.Minute}, nil)
		if err := check(r, truthOf(nat.Timers)); err != nil {
			t.Error(err)
		}
	})
}
