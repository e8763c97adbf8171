package main

import (
	"strings"
	"testing"

	"github.com/natprobe/natprobe/results"
)

// TestKernelReflectorCheck checks reflectors behind firewalls of the kernel. A
// timer of 6 s ends a silence of 6 s, so 5 s is the longest that is proven in
// whole seconds.
func TestKernelReflectorCheck(t *testing.T) {
	t.Parallel()
	needKernelLab(t)
	type facts struct {
		Status     int
		Verdict    results.CheckVerdict
		Egress     results.EgressVerdict
		Proven     float64
		Translated bool
		Kept       int
		Hop, Hops  int // of the box that forgot, of the reflector
	}
	for _, test := range []struct {
		name string
		args string
		want facts
		says string // a part of the problem, or of what is not known
	}{
		{"a firewall, and no NAT here", "--lab firewall:6s/12s,server-side --max-gap 9s",
			facts{exitFailed, results.CheckFails, results.EgressShort, 5, false, 0, 1, 2}, "at hop 1 of 2 from here, at the reflector's end"},
		{"IPv6", "--lab firewall:6s/12s,server-side,family=ipv6 --max-gap 9s",
			facts{exitFailed, results.CheckFails, results.EgressShort, 5, false, 0, 1, 2}, "at hop 1 of 2"},
		{"a firewall, and a NAT with longer timers here", "--lab reflector-firewall --max-gap 9s",
			facts{exitFailed, results.CheckFails, results.EgressShort, 5, true, 1, 2, 3}, "at hop 2 of 3 from here, at the reflector's end"},
		{"a firewall, and a NAT with shorter timers here", "--lab nat:3s/4s+firewall:7s/9s,server-side --max-gap 9s",
			facts{exitFailed, results.CheckFails, results.EgressShort, 6, true, 1, 2, 3}, "at hop 2 of 3 from here, at the reflector's end"},
		{"a firewall that forgets streams first", "--lab nat:3s/4s+firewall:9s/6s,server-side,loss=3 --max-gap 8s",
			facts{exitFailed, results.CheckFails, results.EgressShort, 5, true, 1, 2, 3}, "at hop 2 of 3"},
		{"no firewall, and a NAT here", "--lab nat:4s/6s --max-gap 12s",
			facts{exitDone, results.CheckWorks, results.EgressProven, 12, true, 1, 0, 2}, ""},
		{"no firewall, two NATs here", "--lab nat:4s/6s+nat:5s/5s --max-gap 8s --near 2",
			facts{exitDone, results.CheckWorks, results.EgressProven, 8, true, 2, 0, 3}, ""},
		{"no firewall, and a NAT here without help", "--lab nat:4s/6s --max-gap 8s --near 0",
			facts{exitInconclusive, results.CheckUndecided, results.EgressUndecided, 3, true, 0, 1, 2}, "check again with --near 1"},
		{"nothing", "--lab open --max-gap 8s",
			facts{exitDone, results.CheckWorks, results.EgressProven, 8, false, 0, 0, 1}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, got := checkReflector(t, strings.Fields(test.args)...)
			e := c.Addresses[0].Egress
			for _, event := range c.Addresses[0].Events {
				if event.Reason == results.ReasonSuspend {
					t.Logf("this machine stood still, so nothing is sure: %s", event.Detail)
					return
				}
			}
			if test.want.Verdict == results.CheckUndecided && e.ExpiredHop == 0 {
				t.Log("too busy to tell at which hop; it says so")
				test.want.Hop, test.says = 0, "Where on the path that was could not be told"
			}
			have := facts{got.status, c.Verdict, e.Verdict, e.ProvenS, e.Translated != nil && *e.Translated, e.KeptHops, e.ExpiredHop, e.Hops}
			if have != test.want || !e.HopLimits || c.EgressGapS != test.want.Proven {
				t.Errorf("got  %+v\nwant %+v\nbrackets %+v, problems %q, unknown %q, events %+v", have, test.want, e.Lifetimes,
					c.Problems, c.Unknown, c.Addresses[0].Events)
			}
			if said := strings.Join(append(c.Problems, c.Unknown...), "\n"); !strings.Contains(said, test.says) || test.says == "" && said != "" {
				t.Errorf("says %q, want %q", said, test.says)
			}
			if e.Clock == nil || e.Clock.ErrorPPM <= 0 {
				t.Errorf("clock %+v", e.Clock)
			}
			t.Logf("%.1f s, %d flows, %d packets, clock %+v", c.Addresses[0].Effort.ElapsedS,
				c.Addresses[0].Effort.MaxMappings, c.Addresses[0].Effort.PacketsSent, *e.Clock)
		})
	}
}

// TestKernelEgressMeasure measures against reflectors that advertise what is
// true of their own firewall.
func TestKernelEgressMeasure(t *testing.T) {
	t.Parallel()
	needKernelLab(t)
	for _, test := range []struct {
		lab      string
		proven   float64
		attested bool
		causes   map[results.Regime]results.Cause
	}{
		{"reflector-firewall", 5, false, map[results.Regime]results.Cause{results.Exchange: results.CausePath, results.Stream: results.CausePath}},
		// All of the exchange's bracket is below 8 s.
		{"nat:5s/15s+firewall:9s/12s,server-side", 8, false, map[results.Regime]results.Cause{results.Exchange: results.CauseNetwork, results.Stream: results.CausePath}},
		{"fast", 600, true, map[results.Regime]results.Cause{results.Exchange: results.CauseNetwork, results.Stream: results.CauseNetwork}},
	} {
		t.Run(test.lab, func(t *testing.T) {
			t.Parallel()
			got := natprobe(t.Context(), nil, "", "measure", "--lab", test.lab, "--max", "16s", "--regimes", "exchange,stream", "--json", "--quiet")
			if got.status != exitDone {
				t.Fatalf("status %d, stderr %q", got.status, got.stderr)
			}
			r := decodeRecord(t, got.stdout)
			if stoodStillFor(r) {
				t.Logf("this machine stood still, so nothing is sure: %+v", r.Events)
				return
			}
			if r.Reflector.EgressGapS != test.proven || r.Reflector.Attested != test.attested {
				t.Errorf("egress gap %v s, attested %v; want %v s, %v", r.Reflector.EgressGapS, r.Reflector.Attested, test.proven, test.attested)
			}
			for _, l := range r.Lifetimes {
				if l.Cause != test.causes[l.Regime] {
					t.Errorf("%s: cause %q, want %q; %v to %v s", l.Regime, l.Cause, test.causes[l.Regime], l.LowerS, *l.UpperS)
				}
			}
			paths := 0
			for _, trial := range r.Trials {
				beyond := trial.Outcome == results.Expired && trial.BoundS > test.proven
				if beyond != (trial.Reason == results.ReasonPath) {
					t.Errorf("a trial that is %s at %v s has the reason %q", trial.Outcome, trial.BoundS, trial.Reason)
				}
				if beyond {
					paths++
				}
			}
			if (paths > 0) == test.attested {
				t.Errorf("%d trials are put down to the path", paths)
			}

			summary := natprobe(t.Context(), nil, got.stdout, "recommend", "-")
			text := strings.Join(strings.Fields(summary.stdout), " ")
			reason := r.Recommendation.Reason
			if path := "The path to the reflector"; strings.Contains(reason, path) == test.attested || strings.Contains(text, path) == test.attested {
				t.Errorf("attested %v; the reason is %q, the text\n%s", test.attested, reason, summary.stdout)
			}
			if !test.attested && (strings.Contains(reason, "Your") || strings.Contains(text, "The NAT of lab")) {
				t.Errorf("blames the NAT: %q,\n%s", reason, summary.stdout)
			}
		})
	}
}

func stoodStillFor(r results.Record) bool {
	for _, e := range r.Events {
		if e.Reason == results.ReasonSuspend {
			return true
		}
	}
	return false
}
