package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

const (
	// faultBudget ends a run that faults hold up: its brackets stay open then.
	faultBudget = 50 * time.Second
	// faultWindow is when faults begin, up to so long after the longest
	// lifetime: a run without faults isn't over by then.
	faultWindow = 3 * time.Second
	// cutFor is how long links and paths are cut.
	cutFor = 5 * time.Second
	// noticeTime is how long a run must go on after a fault to notice it: the
	// longest lifetime of these labs, after which every order is due.
	noticeTime = 12 * time.Second
)

// fault is something that happens to a network under measurement. It returns
// when that is over.
type fault struct {
	name   string
	strike func(context.Context, *kernelNet, *rand.Rand) error
	// times is how often it happens in a run, at random moments; 0: it is there
	// from the start.
	times int
	// notice are the words for it in a record's events, any of them.
	notice []results.Reason
}

func faults() []fault {
	return []fault{
		{
			name: "conntrack flushed", times: 3,
			strike: func(_ context.Context, n *kernelNet, rng *rand.Rand) error {
				return n.FlushConntrack(rng.IntN(len(n.Spec().NATs)))
			},
			// Where ports are random the control flow's changes as well.
			notice: []results.Reason{results.ReasonNATReboot, results.ReasonAddressChange},
		},
		{
			name: "reflector killed and restarted", times: 2,
			strike: func(ctx context.Context, n *kernelNet, rng *rand.Rand) error {
				n.stopReflector()
				pause(ctx, time.Duration(rng.Int64N(int64(time.Second))))
				n.startReflector()
				return nil
			},
			notice: []results.Reason{results.ReasonRestart},
		},
		{
			name: "link down", times: 1,
			strike: func(ctx context.Context, n *kernelNet, _ *rand.Rand) error {
				if err := n.SetLink(false); err != nil {
					return err
				}
				pause(ctx, cutFor)
				return n.SetLink(true)
			},
			notice: []results.Reason{results.ReasonOutage},
		},
		{
			name: "silent outage", times: 1,
			strike: func(ctx context.Context, n *kernelNet, _ *rand.Rand) error {
				if err := n.SetLoss(1, 1); err != nil {
					return err
				}
				pause(ctx, cutFor)
				return n.SetLoss(n.Spec().Loss, n.Spec().Loss)
			},
			notice: []results.Reason{results.ReasonOutage},
		},
		{
			name: "outage in one direction", times: 1,
			strike: func(ctx context.Context, n *kernelNet, rng *rand.Rand) error {
				out := float64(rng.IntN(2))
				if err := n.SetLoss(out, 1-out); err != nil {
					return err
				}
				pause(ctx, cutFor)
				return n.SetLoss(n.Spec().Loss, n.Spec().Loss)
			},
			notice: []results.Reason{results.ReasonOutage},
		},
		{name: "30 % loss", times: 1, strike: loseThird},
		{name: "30 % loss from the start", strike: loseThird},
	}
}

func loseThird(_ context.Context, n *kernelNet, _ *rand.Rand) error { return n.SetLoss(0.3, 0.3) }

// TestKernelFaults breaks things at random moments of measurements. Brackets
// may stay open; none may be wrong, and the record tells what happened.
func TestKernelFaults(t *testing.T) {
	t.Parallel()
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for i, f := range faults() {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", f.name, seed), func(t *testing.T) {
				t.Parallel()
				f.run(t, rand.New(rand.NewPCG(seed, uint64(i))))
			})
		}
	}
}

func (f fault) run(t *testing.T, rng *rand.Rand) {
	t.Helper()
	spec := faultySpec(rng)
	truth := truthsOf(spec)
	n := startKernelNet(t, spec)
	begun := time.Now()
	var struck []time.Duration // when each strike was over
	moments := make([]time.Duration, max(f.times, 1))
	for i := range f.times {
		moments[i] = time.Duration(rng.Int64N(int64(truth.longest() + faultWindow)))
	}
	slices.Sort(moments)
	r := n.measure(probe.Config{Max: 20 * time.Second, Budget: faultBudget}, func(ctx context.Context) {
		for _, at := range moments {
			if !pause(ctx, at-time.Since(begun)) {
				return
			}
			if err := f.strike(ctx, n, rng); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
			struck = append(struck, time.Since(begun))
		}
	})
	t.Logf("%s: %s at %v: %s, complete %v", specText(spec), f.name, struck, summary(r, truth, spec.Loss), r.Complete)
	if err := truth.wrong(r); err != nil {
		t.Errorf("%v\n%s", err, story(r))
	}
	if len(struck) == 0 {
		t.Error("the run was over before anything happened")
		return
	}
	if len(f.notice) == 0 || r.Effort.ElapsedS < (struck[0]+noticeTime).Seconds() {
		return // the run was over before it could tell
	}
	told := slices.ContainsFunc(r.Events, func(e results.Event) bool { return slices.Contains(f.notice, e.Reason) })
	if !told && !stoodStill(r) { // else that is all it can tell
		t.Errorf("no event tells of it; want one of %q\n%s", f.notice, story(r))
	}
}

// faultySpec draws a lab with short timers.
func faultySpec(rng *rand.Rand) natlab.Spec {
	one := box(3+rng.IntN(5), 5+rng.IntN(7))
	one.RandomPorts = rng.IntN(2) == 0
	one.Strict = rng.IntN(2) == 0
	spec := natlab.Spec{NATs: []natlab.NATSpec{one}}
	if rng.IntN(3) == 0 {
		spec.NATs = append(spec.NATs, strict(box(6, 9)))
	}
	if rng.IntN(3) == 0 {
		spec.Loss = 0.05
	}
	return spec
}
