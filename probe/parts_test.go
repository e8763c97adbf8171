package probe

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGapsAreAtMostAStepApart(t *testing.T) {
	for _, coarse := range []float64{1, 1.6, 3} {
		list := gaps(time.Second, 6*time.Minute, coarse)
		if list[0] != time.Second || list[len(list)-1] != 6*time.Minute {
			t.Errorf("coarse %v: from %v to %v", coarse, list[0], list[len(list)-1])
		}
		for i := 1; i < len(list); i++ {
			if d := list[i] - list[i-1]; d <= 0 || d > step(list[i-1], coarse)+time.Millisecond {
				t.Errorf("coarse %v: %v follows %v", coarse, list[i], list[i-1])
			}
		}
	}
}

// TestGapsSurroundKnownTimers: a box with such a timer gets a bracket of about
// a second, because one burst ends before the timer and the next begins after.
func TestGapsSurroundKnownTimers(t *testing.T) {
	list := gaps(time.Second, 6*time.Minute, 1)
	for _, timer := range knownTimers() {
		under, over := time.Duration(0), time.Hour
		for _, g := range list {
			if g+burstSpread < timer {
				under = max(under, g)
			}
			if g > timer {
				over = min(over, g)
			}
		}
		if over-under > time.Second {
			t.Errorf("%v lies between rungs %v and %v", timer, under, over)
		}
	}
}

func TestGapsOfOneRung(t *testing.T) {
	if diff := cmp.Diff([]time.Duration{5 * time.Second}, gaps(5*time.Second, 5*time.Second, 1)); diff != "" {
		t.Error(diff)
	}
}

func TestPortsVisitEachOnceInALap(t *testing.T) {
	for _, seed := range []uint64{1, 2, 0xffff_ffff_ffff_ffff, 0x1234_5678_9abc_def0} {
		w := newPortWalk(PortState{Seed: seed})
		seen := make(map[uint16]bool, portCount)
		for range portCount {
			p := w.next()
			if p < firstPort || p >= 32_768 {
				t.Fatalf("seed %x: port %d is outside the range", seed, p)
			}
			seen[p] = true
		}
		if len(seen) != portCount {
			t.Errorf("seed %x: %d ports in a lap, want %d", seed, len(seen), portCount)
		}
	}
}

func TestPortsGoOnWhereTheyStopped(t *testing.T) {
	whole, first := newPortWalk(PortState{Seed: 7}), newPortWalk(PortState{Seed: 7})
	for range 100 {
		whole.next()
		first.next()
	}
	second := newPortWalk(first.state)
	for range 100 {
		if a, b := whole.next(), second.next(); a != b {
			t.Fatalf("got port %d, want %d", b, a)
		}
	}
}

func TestPortsSurviveAStrangeState(t *testing.T) {
	for _, next := range []int{-1, portCount, 1 << 30} {
		if p := newPortWalk(PortState{Seed: 3, Next: next}).next(); p < firstPort {
			t.Errorf("next %d: port %d", next, p)
		}
	}
}

func TestCoverage(t *testing.T) {
	var c coverage
	c.add(5, 5) // nothing
	c.add(10, 20)
	c.add(30, 40)
	c.add(50, 60)
	c.add(15, 32)
	want := []span{{10, 40}, {50, 60}}
	if diff := cmp.Diff(want, c.spans, cmp.AllowUnexported(span{})); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct {
		from, to time.Duration
		want     bool
	}{{10, 40, true}, {11, 39, true}, {9, 12, false}, {39, 51, false}, {50, 61, false}, {41, 49, false}} {
		if got := c.covers(test.from, test.to); got != test.want {
			t.Errorf("covers(%v, %v) = %v", test.from, test.to, got)
		}
	}
}

// TestCoverageAgreesWithCounting compares with a plain list of moments.
func TestCoverageAgreesWithCounting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var c coverage
		var moments [101]bool // whether [i, i+1) is covered
		for range rng.IntN(20) {
			from := rng.IntN(100)
			to := from + rng.IntN(100-from+1)
			c.add(time.Duration(from), time.Duration(to))
			for i := from; i < to; i++ {
				moments[i] = true
			}
		}
		for range 50 {
			from := rng.IntN(99)
			to := from + 1 + rng.IntN(100-from)
			want := true
			for i := from; i < to; i++ {
				want = want && moments[i]
			}
			if got := c.covers(time.Duration(from), time.Duration(to)); got != want {
				t.Fatalf("covers(%d, %d) = %v, want %v: %v", from, to, got, want, c.spans)
			}
		}
	}
}

func TestTimersRunInOrder(t *testing.T) {
	e := &engine{}
	var got []int
	e.at(2, func() { got = append(got, 3) })
	e.at(1, func() { got = append(got, 1); e.after(0, func() { got = append(got, 5) }) })
	e.at(1, func() { got = append(got, 2) })
	e.at(2, func() { got = append(got, 4) })
	e.at(9, func() { got = append(got, 9) })
	e.advance(3)
	if diff := cmp.Diff([]int{1, 2, 3, 4, 5}, got); diff != "" {
		t.Error(diff)
	}
	if at, ok := e.wake(); !ok || at != 9 {
		t.Errorf("wake = %v, %v", at, ok)
	}
}

func TestCopiesFollowLoss(t *testing.T) {
	for _, test := range []struct {
		sent, lost int
		want       int
	}{
		{0, 0, 10}, {1000, 0, 3}, {60, 0, 5}, {1000, 50, 5}, {1000, 100, 6}, {1000, 200, 9}, {1000, 400, 10}, {10, 10, 10},
	} {
		p := path{inSent: test.sent, inLost: test.lost}
		if got := p.copies(); got != test.want {
			t.Errorf("%d of %d lost: %d copies, want %d", test.lost, test.sent, got, test.want)
		}
	}
}

func TestLargestRTTAroundAMoment(t *testing.T) {
	var p path
	for i := range 100 {
		rtt := 10 * time.Millisecond
		if i == 50 {
			rtt = time.Second
		}
		p.sawRTT(time.Duration(i)*time.Second, rtt)
	}
	for at, want := range map[time.Duration]time.Duration{
		10 * time.Second: 10 * time.Millisecond,
		48 * time.Second: time.Second,
		53 * time.Second: time.Second,
		60 * time.Second: 10 * time.Millisecond,
		time.Hour:        time.Second, // no sample near: the largest of the run
	} {
		if got := p.maxRTT(at); got != want {
			t.Errorf("maxRTT(%v) = %v, want %v", at, got, want)
		}
	}
}
