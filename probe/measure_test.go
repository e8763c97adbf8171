package probe_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// lifetimes are the true ones of a path, by regime.
type lifetimes map[results.Regime]time.Duration

func truthOf(t natmodel.Timers) lifetimes {
	return lifetimes{
		results.Solitary: t.Solitary, results.Oneway: t.Oneway, results.Exchange: t.Exchange, results.Stream: t.Stream,
	}
}

func (l lifetimes) longest() float64 {
	longest := time.Duration(0)
	for _, t := range l {
		longest = max(longest, t)
	}
	return longest.Seconds()
}

// seeds runs f for a number of seeds in parallel; fewer with -short, and under the
// race detector.
func seeds(t *testing.T, n int, f func(t *testing.T, seed uint64, rng *rand.Rand)) {
	t.Helper()
	n = max(n/seedsShare, 2)
	if testing.Short() {
		n = max(n/10, 2)
	}
	for seed := range uint64(n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f(t, seed, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func TestBracketsAndTime(t *testing.T) {
	pf := natmodel.PF()
	tests := []struct {
		name string
		nat  natmodel.Config
	}{
		{"lab", natmodel.Linux(6*time.Second, 12*time.Second)},
		{"short", natmodel.Flat(3 * time.Second)},
		{"linux", natmodel.Linux(30*time.Second, 120*time.Second)},
		{"old linux", natmodel.Linux(30*time.Second, 180*time.Second)},
		{"openwrt", natmodel.OpenWrt()},
		{"pf", pf},
		{"flat 47", natmodel.Flat(47 * time.Second)},
		{"flat 60", natmodel.Flat(60 * time.Second)},
		{"flat 300", natmodel.Flat(300 * time.Second)},
		{"hedgehog", natmodel.Config{StreamAfter: 2 * time.Second, Timers: natmodel.Timers{
			Solitary: 5 * time.Second, Oneway: 5 * time.Second, Exchange: 3 * time.Second, Stream: 120 * time.Second,
		}}},
	}
	for _, test := range tests {
		for _, loss := range []float64{0, 0.1} {
			t.Run(fmt.Sprintf("%s, %.0f %% loss", test.name, 100*loss), func(t *testing.T) {
				t.Parallel()
				r := measure(t, simulate.Config{NATs: []natmodel.Config{test.nat}, LossOut: loss, LossIn: loss, Seed: 3}, probe.Config{}, nil)
				truth := truthOf(test.nat.Timers)
				if err := check(r, truth); err != nil {
					t.Error(err)
				}
				if !r.Complete {
					t.Error("the run is not complete")
				}
				for _, l := range r.Lifetimes {
					width := max(2, 0.05*l.LowerS)
					if l.Regime == results.Oneway { // a coarser ladder by design
						width *= 1.6
					}
					if l.UpperS == nil || *l.UpperS-l.LowerS > width {
						t.Errorf("%s: bracket %s is wider than %.2f s", l.Regime, bracket(l), width)
					}
				}
				allowed := 1.15*truth.longest() + 5
				if loss > 0 {
					allowed += 8
				}
				if r.Effort.ElapsedS > allowed { // fake time: the same on every machine
					t.Errorf("took %.1f s, want at most %.1f s", r.Effort.ElapsedS, allowed)
				}
				if r.Effort.MaxMappings > probe.DefaultFlows {
					t.Errorf("%d mappings at a time, want at most %d", r.Effort.MaxMappings, probe.DefaultFlows)
				}
				t.Logf("%.1f s of %.1f s, %d mappings, %d packets", r.Effort.ElapsedS, allowed, r.Effort.MaxMappings, r.Effort.PacketsSent)
			})
		}
	}
}

// TestKinds measures NATs of every mapping and filtering behaviour, port
// allocation, pool, refresh rule and answer to stray packets, in random
// combination, alone and in chains, with loss up to 20 %.
func TestKinds(t *testing.T) {
	behaviors := []natmodel.Dependence{natmodel.EndpointIndependent, natmodel.AddressDependent, natmodel.AddressAndPortDependent}
	seeds(t, 120, func(t *testing.T, seed uint64, rng *rand.Rand) {
		chain := make([]natmodel.Config, 1+rng.IntN(2))
		truth := lifetimes{}
		for i := range chain {
			nat := natmodel.Linux(time.Duration(2+rng.IntN(60))*time.Second, time.Duration(2+rng.IntN(350))*time.Second)
			if rng.IntN(2) == 0 {
				nat.Timers.Exchange = time.Duration(2+rng.IntN(100)) * time.Second
				nat.Timers.Oneway = time.Duration(2+rng.IntN(100)) * time.Second
			}
			nat.Mapping, nat.Filtering = behaviors[rng.IntN(3)], behaviors[rng.IntN(3)]
			nat.Ports = []natmodel.PortPolicy{natmodel.Preserve, natmodel.Random, natmodel.Sequential}[rng.IntN(3)]
			nat.PortOverlap = nat.Mapping == natmodel.AddressAndPortDependent &&
				nat.Filtering == natmodel.AddressAndPortDependent && rng.IntN(2) == 0
			if nat.Ports != natmodel.Preserve && rng.IntN(2) == 0 { // a port serves one flow after another
				nat.MinPort, nat.MaxPort = 2000, 2999
			}
			nat.RefreshInbound = rng.IntN(2) == 0
			nat.WANInput = []natmodel.WANInput{natmodel.Drop, natmodel.Accept}[rng.IntN(2)]
			if i == len(chain)-1 && rng.IntN(3) == 0 {
				nat.External = []netip.Addr{
					netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3"),
				}
			}
			for regime, l := range truthOf(nat.Timers) {
				if old, ok := truth[regime]; !ok || l < old {
					truth[regime] = l
				}
			}
			chain[i] = nat
		}
		loss := []float64{0, 0, 0.05, 0.1, 0.2}[rng.IntN(5)]
		r := measure(t, simulate.Config{
			NATs: chain, Seed: seed, LossOut: loss, LossIn: loss,
			Outside: time.Duration(2+rng.IntN(120)) * time.Millisecond, Jitter: time.Duration(rng.IntN(20)) * time.Millisecond,
			Duplicate: []float64{0, 0, 0.01}[rng.IntN(3)], LossInside: rng.IntN(4) == 0,
		}, probe.Config{}, nil)
		if err := check(r, truth); err != nil {
			t.Error(err)
		}
		if loss == 0 && !r.Complete {
			t.Error("the run is not complete")
		}
	})
}
