package main_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
)

// What cases of the truth suite are drawn from.
const (
	truthShortest, truthLongest = 2, 40 // timers, seconds
	// truthStopped is the longest time for which a measuring process is stopped.
	truthStopped = 8 * time.Second
	// burstLoss is how much is lost in a loss burst, which lasts as long as a cut.
	burstLoss = 0.6
)

// truthCase is one measurement of the truth suite. The suite's seed and its
// number decide all of it.
type truthCase struct {
	number int
	spec   natlab.Spec
	fault  truthFault
	rng    *rand.Rand // for when the fault strikes, and how
}

// newTruthCase draws a case. Its numbers are drawn in a fixed order, so that a
// case stays the same however many there are.
func newTruthCase(seed uint64, number int, faults []truthFault) truthCase {
	rng := rand.New(rand.NewPCG(seed, uint64(number)))
	c := truthCase{number: number, rng: rng, fault: truthFault{name: noFault}}
	nats := 1
	for nats < truthMostNATs && rng.IntN(2) == 0 {
		nats++
	}
	for range nats {
		c.spec.NATs = append(c.spec.NATs, drawBox(rng))
	}
	if rng.IntN(3) > 0 {
		c.spec.Loss = math.Ceil(1000*truthMaxLoss*rng.Float64()) / 1000
	}
	if rng.IntN(2) == 0 {
		c.fault = faults[rng.IntN(len(faults))]
	}
	c.spec.Name = c.spec.Notation()
	return c
}

// drawBox draws a NAT. Its timers are log-uniform: short ones are as different
// from one another as long ones.
func drawBox(rng *rand.Rand) natlab.NATSpec {
	timer := func() int {
		return int(math.Round(truthShortest * math.Pow(truthLongest/truthShortest, rng.Float64())))
	}
	one, other := timer(), timer()
	nat := box(min(one, other), max(one, other))
	switch rng.IntN(8) {
	case 0: // several addresses
		nat.Addresses = 2 + rng.IntN(3)
		nat.RandomPorts = rng.IntN(2) == 0
	case 1, 2, 3:
		nat.RandomPorts = true
	}
	nat.Strict = rng.IntN(2) == 0
	return nat
}

func (t truths) shortest() time.Duration {
	shortest := t.longest()
	for _, life := range t {
		shortest = min(shortest, life)
	}
	return shortest
}

// ports names how the boxes of a case give out external ports.
func (c truthCase) ports() string {
	pool := slices.ContainsFunc(c.spec.NATs, func(n natlab.NATSpec) bool { return n.Addresses > 1 })
	random := slices.ContainsFunc(c.spec.NATs, func(n natlab.NATSpec) bool { return n.RandomPorts })
	switch {
	case pool:
		return "a pool of addresses"
	case random:
		return "random ports"
	default:
		return "preserved ports"
	}
}

// strictness says how many boxes of a case have a closed outer side.
func (c truthCase) strictness() string {
	open := slices.ContainsFunc(c.spec.NATs, func(n natlab.NATSpec) bool { return !n.Strict })
	strict := slices.ContainsFunc(c.spec.NATs, func(n natlab.NATSpec) bool { return n.Strict })
	switch {
	case open && strict:
		return "some closed outside"
	case strict:
		return "all closed outside"
	default:
		return "none closed outside"
	}
}

// moments draws when the fault strikes, from the start of the measurement to
// about its end.
func (c truthCase) moments() []time.Duration {
	moments := make([]time.Duration, max(c.fault.times, 1))
	for i := range c.fault.times {
		moments[i] = time.Duration(c.rng.Int64N(int64(truthsOf(c.spec).longest() + faultWindow)))
	}
	slices.Sort(moments)
	return moments
}

// truthFault is something that happens in the middle of a measurement by a
// process of its own.
type truthFault struct {
	name   string
	times  int // 0: it is there from the start
	strike func(context.Context, *truthRun, *rand.Rand) error
}

// truthFaults are those of the other tests, and what a process and a link can
// meet besides.
func truthFaults() []truthFault {
	var list []truthFault
	for _, f := range faults() {
		list = append(list, truthFault{f.name, f.times, func(ctx context.Context, r *truthRun, rng *rand.Rand) error {
			return f.strike(ctx, r.kernelNet, rng)
		}})
	}
	return append(list,
		truthFault{"NAT reboot", 1, func(_ context.Context, r *truthRun, rng *rand.Rand) error {
			return r.FlushConntrack(rng.IntN(len(r.Spec().NATs)))
		}},
		truthFault{fmt.Sprintf("%.0f %% loss for some seconds", 100*burstLoss), 1, func(ctx context.Context, r *truthRun, _ *rand.Rand) error {
			if err := r.SetLoss(burstLoss, burstLoss); err != nil {
				return err
			}
			pause(ctx, cutFor)
			return r.SetLoss(r.Spec().Loss, r.Spec().Loss)
		}},
		truthFault{"process stopped", 1, func(ctx context.Context, r *truthRun, rng *rand.Rand) error {
			if err := r.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				return err
			}
			pause(ctx, time.Second+time.Duration(rng.Int64N(int64(truthStopped-time.Second))))
			return r.cmd.Process.Signal(syscall.SIGCONT)
		}},
	)
}
