package main

import (
	"fmt"
	"math"
	"time"

	"github.com/natprobe/natprobe/results"
)

// maxDrift is how far a clock may be off, in parts in a million: the crystals of
// computers are good for a tenth of that. It makes 0.18 s in 6 minutes. Over less
// than quickGap a busy machine can look like it.
const maxDrift = 500

// judge concludes from what was found of each address.
func judge(c *results.Check) {
	c.Problems, c.Unknown = []string{}, []string{}
	problem := func(format string, args ...any) { c.Problems = append(c.Problems, fmt.Sprintf(format, args...)) }
	unknown := func(format string, args ...any) { c.Unknown = append(c.Unknown, fmt.Sprintf(format, args...)) }
	proven := math.Inf(1)
	for _, a := range c.Addresses {
		if !a.Tried {
			unknown("%s: this machine has no route to it, so it was not tried.", a.Address)
			continue
		}
		for _, p := range a.Ports {
			switch {
			case p.STUN && p.Natprobe:
			case p.Alternate:
				problem("%s: OTHER-ADDRESS tells of it, but it answers %s.", p.Address, answers(p))
			case !p.STUN && !p.Natprobe:
				problem("%s: no answer. Does \"natprobe reflector\" listen there, and do the firewalls let its UDP port through?", p.Address)
			default:
				problem("%s: it answers %s.", p.Address, answers(p))
			}
		}
		if a.Egress == nil { // why is told above
			continue
		}
		switch a.Error {
		case "":
		case errInterrupted.Error():
			unknown("%s: the check was interrupted.", a.Address)
		default:
			problem("%s: %s.", a.Address, a.Error)
		}
		if a.Limits == nil {
			continue
		}
		proven = min(proven, a.Egress.ProvenS)
		if a.Error == "" {
			judgeEgress(a, problem, unknown)
		}
		if d := a.Egress.Clock; d != nil && d.GapS >= quickGap.Seconds() && math.Abs(d.PPM)-d.ErrorPPM > maxDrift {
			problem("%s: its monotonic clock is off by %.0f parts in a million against this machine's (± %.0f); more than %d blur gaps. One of the two is wrong.",
				a.Address, d.PPM, d.ErrorPPM, maxDrift)
		}
	}
	if !math.IsInf(proven, 1) {
		c.EgressGapS = proven
	}
	switch {
	case len(c.Problems) > 0:
		c.Verdict = results.CheckFails
	case len(c.Unknown) > 0:
		c.Verdict = results.CheckUndecided
	default:
		c.Verdict = results.CheckWorks
	}
}

// answers says which kinds of question a port answers.
func answers(p results.CheckedPort) string {
	switch {
	case p.STUN:
		return "plain STUN, and nothing of natprobe's own"
	case p.Natprobe:
		return "natprobe's own messages, and no plain STUN"
	default:
		return "nothing"
	}
}

// judgeEgress tells what the silences have shown.
func judgeEgress(a results.CheckedAddress, problem, unknown func(string, ...any)) {
	e := a.Egress
	if e.Verdict == results.EgressProven {
		return
	}
	if e.ExpiredS == nil {
		unknown("%s: only silences up to %s could be judged, and %s were to be: too little came through, or too much happened meanwhile. Try again.",
			a.Address, wholeSeconds(e.ProvenS), wholeSeconds(e.AskedS))
		return
	}
	lost := fmt.Sprintf("%s: after a silence of %s s nothing came out any more", a.Address, upper(*e.ExpiredS))
	switch {
	case e.Verdict == results.EgressShort:
		problem("%s. The box that forgot is at hop %d of %d from here, at the reflector's end: a firewall, a security group or a NAT of its own side. "+
			"Let it pass the reflector's UDP port in and out without state, or with a longer timer.", lost, e.ExpiredHop, e.Hops)
		if e.AdvertisedS > e.ProvenS {
			problem("%s: it advertises an egress gap of %s, which is more than is true: probers take its own side's timer for that of their NATs.",
				a.Address, wholeSeconds(e.AdvertisedS))
		}
	case !e.HopLimits:
		unknown("%s. This machine can't send packets that die on the way, so that may be a timer of its own side. "+
			"Check from another system, or from a machine with a public address and no firewall.", lost)
	case e.ExpiredHop > 0:
		unknown("%s. The box that forgot is at hop %d of %d from here, at this machine's end. If it is on your side, as a carrier's NAT is, "+
			"check again with --near %d, which keeps it open.", lost, e.ExpiredHop, e.Hops, e.ExpiredHop)
	default:
		unknown("%s. Where on the path that was could not be told, so it may be this machine's own side. "+
			"Check from a machine with a public address and no firewall.", lost)
	}
}

func wholeSeconds(s float64) string { return fmt.Sprintf("%.0f s", s) }

// egressFlag is what to give to the reflector.
func egressFlag(s float64) string {
	return "--egress-gap " + (time.Duration(s) * time.Second).String()
}
