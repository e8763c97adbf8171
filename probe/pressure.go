package probe

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/natprobe/natprobe/results"
)

const (
	// pressureWindow is how many of the latest new flows are looked at, and
	// pressureLost how many of them must have got nothing through.
	pressureWindow = 16
	pressureLost   = 12
	// pressureLoss is the loss of the path, as an upper bound in each direction,
	// up to which so many can't be loss: at 10 % a flow's first round trip fails
	// one time in five, and 12 of 16 do once in some 500,000 times.
	pressureLoss = 0.1
)

// pressure notices a NAT that has no room for more flows: those that are there
// work, new ones get nothing through. Such a NAT may also have dropped idle
// mappings before their time to make room.
type pressure struct {
	e      *engine
	recent uint16 // a bit for each of the latest new flows: nothing got through
	seen   int
}

// opened takes whether the first packet of a new flow got through. One that
// failed tells nothing where the control flow failed beside it.
func (p *pressure) opened(f *flow, through bool) {
	if p.e.control.outage || !through && !p.e.control.workedAt(f.first) {
		return
	}
	p.recent <<= 1
	if !through {
		p.recent |= 1
	}
	p.seen++
	if p.seen < pressureWindow || bits.OnesCount16(p.recent) < pressureLost ||
		p.e.path.outbound().Upper95 > pressureLoss || p.e.path.inbound().Upper95 > pressureLoss {
		return
	}
	p.recent, p.seen = 0, 0
	if p.e.flowCap > minFlows {
		p.ease()
	}
}

// ease goes on with few flows. What expired while there were many may have been
// dropped to make room, and is tried again; what lived has lived.
func (p *pressure) ease() {
	p.e.flowCap = max(min(GentleFlows, p.e.flowCap/2), minFlows)
	p.e.plan.thin()
	void := p.e.plan.distrust(results.ReasonPressure)
	p.e.voidAll(results.ReasonPressure, fmt.Sprintf("new flows got nothing through while old ones worked: the NAT has no room for more; "+
		"going on with %d flows at a time, and trying again what expired till now (%d)", p.e.flowCap, void),
		func(t *trial) bool { return t.flow.sent > 0 && !t.lived() })
}

// thin makes do with as many rungs as go with the flows that are left.
func (p *plan) thin() {
	coarse := p.coarseness(p.e.flowCap)
	for _, l := range p.ladders {
		l.thin(rungGaps(l.regime, p.e.cfg.Min, p.e.cfg.Max, coarse), p.e.now)
	}
}

// distrust makes the expiries so far inconclusive, and returns how many there
// were. Brackets that rested on them don't stand any more.
func (p *plan) distrust(reason results.Reason) (void int) {
	p.e.distrusts++
	for _, t := range p.e.finished {
		if t.outcome == results.Expired {
			t.outcome, t.reason = results.Inconclusive, reason
			void++
		}
	}
	for _, l := range p.ladders {
		l.trials = nil
		l.earlier = slices.DeleteFunc(l.earlier, func(t results.Trial) bool { return t.Outcome == results.Expired })
		for _, r := range l.rungs {
			r.expired, r.setups, r.wasted = 0, 0, 0
		}
		l.stands, l.first = false, 0
	}
	for _, t := range p.e.finished {
		t.rung.ladder.trials = append(t.rung.ladder.trials, t.result())
	}
	for _, l := range p.ladders {
		l.reassess()
	}
	return void
}
