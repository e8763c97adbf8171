package main_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// box is a NAT with its timers in seconds.
func box(solitary, stream int) natlab.NATSpec {
	return natlab.NATSpec{Solitary: time.Duration(solitary) * time.Second, Stream: time.Duration(stream) * time.Second}
}

func random(n natlab.NATSpec) natlab.NATSpec {
	n.RandomPorts = true
	return n
}

func strict(n natlab.NATSpec) natlab.NATSpec {
	n.Strict = true
	return n
}

func firewall(n natlab.NATSpec) natlab.NATSpec {
	n.None = true
	return n
}

// measureBudget ends a run that doesn't end by itself.
const measureBudget = 2 * time.Minute

// TestKernelMeasure measures labs whose timers are known. Any two of: timers,
// loss, port allocation, strictness and number of NATs come together in some
// row.
func TestKernelMeasure(t *testing.T) {
	t.Parallel()
	chain := func(nats ...natlab.NATSpec) []natlab.NATSpec { return nats }
	const lossy = 0.1
	tests := []struct {
		nats   []natlab.NATSpec
		loss   float64
		family natlab.Family
		max    time.Duration // 0: the default
	}{
		{nats: chain(box(3, 7)), max: 20 * time.Second},
		{nats: chain(random(strict(box(3, 7)))), loss: lossy, max: 20 * time.Second},
		{nats: chain(random(box(3, 9)), strict(box(6, 7))), max: 20 * time.Second},
		{nats: chain(strict(box(5, 11))), loss: lossy, max: 30 * time.Second},
		{nats: chain(random(box(5, 11))), max: 30 * time.Second},
		{nats: chain(box(5, 20), box(9, 11)), loss: lossy, max: 30 * time.Second},
		{nats: chain(random(strict(box(8, 20))))},
		{nats: chain(box(8, 20)), loss: lossy, max: 45 * time.Second},
		{nats: chain(strict(box(8, 23)), random(strict(box(11, 20)))), loss: lossy, max: 45 * time.Second},
		{nats: chain(strict(box(12, 6))), max: 30 * time.Second}, // a stream that lives shorter
		{nats: chain(random(box(12, 8)), random(box(14, 6))), loss: lossy, max: 30 * time.Second},
		{nats: chain(strict(box(12, 12)), box(12, 13)), max: 30 * time.Second},
		{nats: chain(firewall(strict(box(4, 9)))), family: natlab.IPv6, max: 20 * time.Second},
		{nats: chain(firewall(box(6, 15))), loss: lossy, family: natlab.IPv6, max: 30 * time.Second},
	}
	for _, test := range tests {
		spec := natlab.Spec{NATs: test.nats, Loss: test.loss, Family: test.family}
		t.Run(specText(spec), func(t *testing.T) {
			t.Parallel()
			truth := truthsOf(spec)
			r := startKernelNet(t, spec).measure(probe.Config{Max: test.max, Budget: measureBudget}, nil)
			t.Log(summary(r, truth, spec.Loss))
			if err := truth.wrong(r); err != nil {
				t.Errorf("%v\n%s", err, story(r))
			}
			if stoodStill(r) {
				t.Logf("this machine is too busy to judge widths and completeness on\n%s", story(r))
				return
			}
			if r.Effort.ElapsedS > truth.allowedS(spec.Loss) {
				t.Logf("slower than the target\n%s", story(r))
			}
			if err := wide(r); err != nil {
				t.Errorf("%v\n%s", err, story(r))
			}
			if !r.Complete {
				t.Errorf("the run is not complete\n%s", story(r))
			}
			checkNetwork(t, r, spec)
		})
	}
}

// specText names a lab as "5/11 random, 9/20 strict, 10 % loss".
func specText(spec natlab.Spec) string {
	name := ""
	for _, n := range spec.NATs {
		if name != "" {
			name += ", "
		}
		name += fmt.Sprintf("%.0f/%.0f", n.Solitary.Seconds(), n.Stream.Seconds())
		for _, word := range []struct {
			is   bool
			text string
		}{{n.None, "firewall"}, {n.RandomPorts, "random"}, {n.Strict, "strict"}} {
			if word.is {
				name += " " + word.text
			}
		}
	}
	if spec.Loss > 0 {
		name += fmt.Sprintf(", %.0f %% loss", 100*spec.Loss)
	}
	return name
}

// checkNetwork checks what a record says of the path besides lifetimes.
func checkNetwork(t *testing.T, r *results.Record, spec natlab.Spec) {
	t.Helper()
	translated, randomized := false, false
	for _, n := range spec.NATs {
		translated = translated || !n.None
		randomized = randomized || n.RandomPorts
	}
	if kept := r.Network.PortPreservation; kept == nil || *kept == randomized {
		t.Errorf("port preservation is %v, want %v", kept, !randomized)
	}
	if (r.Network.Mapping == "none") == translated {
		t.Errorf("mapping is %q on a path where translation is %v", r.Network.Mapping, translated)
	}
	// Five standard deviations, and a packet that a busy machine dropped.
	spread := 5*math.Sqrt(spec.Loss*(1-spec.Loss)/float64(r.Loss.Sent)) + 1/float64(r.Loss.Sent)
	if math.Abs(r.Loss.Rate-spec.Loss) > spread || r.Loss.Upper95 < r.Loss.Rate {
		t.Errorf("outbound loss is %.3f (upper bound %.3f) of %d packets, want %.2f ± %.3f",
			r.Loss.Rate, r.Loss.Upper95, r.Loss.Sent, spec.Loss, spread)
	}
	if len(r.Events) > 0 {
		t.Logf("events although nothing happened: %+v", r.Events)
	}
}

// TestKernelOpen measures paths on which nothing expires: lifetimes stay open
// above, up to the longest gap that was tried.
func TestKernelOpen(t *testing.T) {
	t.Parallel()
	const longest = 12 * time.Second
	for _, spec := range []natlab.Spec{
		{Name: "no NAT"},
		{Name: "no NAT, IPv6, 10 % loss", Family: natlab.IPv6, Loss: 0.1},
		{Name: "NAT with longer timers", NATs: []natlab.NATSpec{box(30, 120)}},
	} {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			r := startKernelNet(t, spec).measure(probe.Config{Max: longest, Budget: measureBudget}, nil)
			if stoodStill(r) {
				t.Logf("this machine is too busy to judge completeness on\n%s", story(r))
				return
			}
			if !r.Complete {
				t.Errorf("the run is not complete\n%s", story(r))
			}
			for _, l := range r.Lifetimes {
				if l.Censored != results.CensoredRight || l.UpperS != nil || l.LowerS < longest.Seconds()-0.01 {
					t.Errorf("%s: bracket %s, censored %s, want it open above %v\n%s", l.Regime, bracketText(l), l.Censored, longest, story(r))
				}
			}
		})
	}
}
