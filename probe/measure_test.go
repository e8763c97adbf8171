package probe_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

func truthOf(t natmodel.Timers) map[results.Regime]time.Duration {
	return map[results.Regime]time.Duration{
		results.Solitary: t.Solitary, results.Oneway: t.Oneway, results.Exchange: t.Exchange, results.Stream: t.Stream,
	}
}

func longest(truth map[results.Regime]time.Duration) time.Duration {
	l := time.Duration(0)
	for _, t := range truth {
		l = max(l, t)
	}
	return l
}

func TestRandom(t *testing.T) {
	type stat struct {
		ratio   float64
		allowed float64
		what    string
	}
	var stats []stat
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a := time.Duration(2+rng.IntN(60)) * time.Second
		b := time.Duration(2+rng.IntN(200)) * time.Second
		nat := natmodel.Linux(a, b)
		loss := []float64{0, 0, 0.05, .1, .2}[rng.IntN(5)]
		r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed}, probe.Config{}, nil)
		truth := truthOf(nat.Timers)
		if err := check(r, truth); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		L := longest(truth).Seconds()
		what := fmt.Sprintf("seed %d %v/%v loss %v complete %v elapsed %.1f mappings %d packets %d rounds %d", seed, a, b, loss, r.Complete, r.Effort.ElapsedS, r.Effort.MaxMappings, r.Effort.PacketsSent, r.Effort.Rounds)
		for _, l := range r.Lifetimes {
			if l.UpperS == nil || *l.UpperS-l.LowerS > max(2, .05*l.LowerS) {
				what += fmt.Sprintf(" WIDE %s %s", l.Regime, bracket(l))
			}
		}
		if len(r.Events) > 0 {
			what += fmt.Sprint(r.Events)
		}
		reasons := map[results.Reason]int{}
		for _, tr := range r.Trials {
			reasons[tr.Reason]++
		}
		what += fmt.Sprint(reasons)
		stats = append(stats, stat{r.Effort.ElapsedS / L, r.Effort.ElapsedS - 1.15*L - 5, what})
	}
	slices.SortFunc(stats, func(a, b stat) int { return cmp.Compare(a.allowed, b.allowed) })
	for _, s := range stats {
		t.Logf("%.2f over %.1f %s", s.ratio, s.allowed, s.what)
	}
}
