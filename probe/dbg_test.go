package probe_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

func TestDbg(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SEED"))
	seed := uint64(n)
	rng := rand.New(rand.NewPCG(seed, 1))
	a := time.Duration(2+rng.IntN(60)) * time.Second
	b := time.Duration(2+rng.IntN(200)) * time.Second
	nat := natmodel.Linux(a, b)
	loss := []float64{0, 0, 0.05, .1, .2}[rng.IntN(5)]
	r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, LossOut: loss, LossIn: loss, Seed: seed}, probe.Config{}, nil)
	fmt.Println(a, b, loss, r.Effort)
	for _, tr := range r.Trials {
		if tr.Outcome == results.Expired || tr.Reason != "" && tr.Reason != results.ReasonOrderLost && tr.Reason != results.ReasonSetupLost {
			fmt.Printf("%7.2f %-9s gap %.2f meas %.2f %s %s copies %d/%d beacons %d\n", tr.StartedAt.Sub(r.StartedAt).Seconds(), tr.Regime, tr.GapS, tr.MeasuredGapS, tr.Outcome, tr.Reason, tr.CopiesReceived, tr.CopiesSent, tr.Beacons)
		}
	}
	for _, l := range r.Lifetimes {
		fmt.Println(l.Regime, bracket(l))
	}
	fmt.Println(r.Events)
}
