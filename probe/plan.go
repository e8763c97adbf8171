package probe

import (
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

const (
	// pace is the time between two new flows: about 40 a second.
	pace = 23 * time.Millisecond
	// idlePace is how often the plan looks when there is nothing to start.
	idlePace = 100 * time.Millisecond
	// earliest is how long before its due time a rung may start.
	earliest = 1500 * time.Millisecond
	// sentinelLead lets sentinels fall silent before the first trial opens.
	sentinelLead = 500 * time.Millisecond
	// setupRetry is the pause before a rung that failed to start is tried again.
	setupRetry = 100 * time.Millisecond

	// A reflector lets 128 packets be due to one address in any second, and
	// counts by quarters. Trials leave a quarter of that to sentinels, which
	// reserve later.
	slotLength  = 250 * time.Millisecond
	slotWindow  = 5
	slotPackets = 100
	// slotRetries is how many of them first trials leave to those that loss
	// made necessary again, which are the more urgent.
	slotRetries = 16
	// slotUrgent is how many more a rung may take that keeps a bracket open.
	slotUrgent = 16

	socketPause  = 500 * time.Millisecond
	refusedPause = 300 * time.Millisecond

	// decided is how many repeats must live to settle a dispute as loss.
	decided = 2
	// disputeTrials ends a dispute that repeats can't settle.
	disputeTrials = 7
	// disputesAtOnce limits the repeats under way.
	disputesAtOnce = 2

	// giveUpFactor × the longest gap and giveUpAfter more without a conclusive
	// trial end the run with what it has.
	giveUpFactor = 2

	// youngLife stands for lifetimes as long as none is known.
	youngLife = 5 * time.Second
)

// plan decides which rung starts when, and when a regime's bracket stands.
type plan struct {
	e         *engine
	ladders   []*ladder
	inFlight  []*trial
	paused    time.Duration // until then nothing starts
	concluded time.Duration // when a trial was conclusive last
	scarcity  scarcity
	slots     map[time.Duration]int // packets ordered for each slotLength
}

func (p *plan) init(e *engine) {
	p.e = e
	p.slots = make(map[time.Duration]int)
	coarse := p.coarseness(e.cfg.Flows)
	for _, regime := range e.cfg.Regimes {
		p.ladders = append(p.ladders, newLadder(regime, e.cfg.Min, e.cfg.Max, e.cfg.Resolution, coarse))
	}
	if e.cfg.Resume != nil {
		p.resume(e.cfg.Resume)
	}
}

// coarseness returns how much wider than usual the steps of all ladders must be
// for so many flows.
func (p *plan) coarseness(flows int) float64 {
	for coarse := 1.0; ; coarse *= 1.2 {
		rungs := 0
		for _, regime := range p.e.cfg.Regimes {
			rungs += len(rungGaps(regime, p.e.cfg.Min, p.e.cfg.Max, coarse))
		}
		// Short rungs are over before long ones start, so somewhat more rungs
		// than mappings fit at full width. A coarser ladder takes more rounds.
		if rungs*4 <= flows*5 || rungs <= 4*len(p.e.cfg.Regimes) {
			return coarse
		}
	}
}

// started begins the measurement once the control flow stands.
func (e *engine) started() {
	e.sentinels.begin()
	for _, l := range e.plan.ladders {
		for _, r := range l.rungs {
			r.open += e.now
		}
	}
	e.after(sentinelLead, e.plan.tick)
}

func (p *plan) tick() {
	if p.e.now-p.concluded > giveUpFactor*p.e.cfg.Max+giveUpAfter {
		p.e.event(results.ReasonUnwitnessed, "no trial has been conclusive for a long time: giving up", 0)
		p.e.end(nil)
		return
	}
	next := idlePace
	if p.e.now >= p.paused && !p.e.control.outage && p.e.mappings() < p.e.flowCap-max(p.e.flowCap/sentinelReserve, sentinelCount) {
		if r := p.pick(); r != nil {
			p.start(r)
			next = pace
		}
	}
	p.e.after(next, p.tick)
}

func (p *plan) pause(d time.Duration) { p.paused = max(p.paused, p.e.now+d) }

// pick returns the most urgent rung that is wanted, if any.
func (p *plan) pick() *rung {
	var best *rung
	for _, l := range p.ladders {
		top, above := l.top(), 0
		for _, r := range l.rungs {
			if l.wants(r, top, above) && p.e.now >= max(r.open-earliest, r.retryAt, p.cleanAt(r)) && (best == nil || r.open < best.open) && p.roomFor(r) {
				best = r
			}
			if r.gap > top {
				above += r.expired + r.suspected
			}
		}
	}
	return best
}

// roomFor reports whether a burst of r, begun now, finds room in what the
// reflector lets be due to one address, with some left for the sentinels:
// trials reserve long before them.
func (p *plan) roomFor(r *rung) bool {
	slot := (p.e.now + r.ladder.setup() + r.gap) / slotLength
	due, limit := 2*p.e.path.copies(), slotPackets
	switch {
	case r.ladder.holdsUp(r):
		limit += slotUrgent
	case r.setups+r.wasted == 0:
		limit -= slotRetries
	}
	for first := slot - slotWindow + 1; first <= slot; first++ {
		sum := due
		for i := range time.Duration(slotWindow) {
			sum += p.slots[first+i]
		}
		if sum > limit {
			return false
		}
	}
	return true
}

// reserve notes the packets of an order: copies and beacons.
func (p *plan) reserve(o *order) {
	p.slots[(o.sentAt+o.gap)/slotLength] += 2 * o.copies
}

// release takes a reservation back: the order did not arrive.
func (p *plan) release(o *order) {
	p.slots[(o.sentAt+o.gap)/slotLength] -= 2 * o.copies
}

func (p *plan) start(r *rung) {
	r.repeats = max(r.repeats-1, 0)
	r.active++
	t := &trial{e: p.e, rung: r}
	p.inFlight = append(p.inFlight, t)
	t.begin()
}

// trialOver takes a trial that ended, and ends the run with the last bracket.
func (p *plan) trialOver(t *trial) {
	p.inFlight = slices.DeleteFunc(p.inFlight, func(other *trial) bool { return other == t })
	r, l := t.rung, t.rung.ladder
	r.active--
	if t.looksDead {
		r.suspected--
	}
	switch {
	case t.outcome == results.Alive:
		r.alive++
	case t.outcome == results.Expired:
		r.expired++
	case t.reason == results.ReasonLoss:
		r.wasted += maxWasted / 2 // it would hardly be told another time
	case t.wholeGap():
		r.wasted++
	case t.reason == results.ReasonReused:
		p.met(r)
	default:
		r.setups++
		r.retryAt = p.e.now + setupRetry
		if t.reason == results.ReasonRefused {
			r.retryAt = p.e.now + refusedPause // its slot is full at that time
		}
	}
	if t.outcome != results.Inconclusive {
		p.concluded = p.e.now
	}
	l.record(t)
	if e, ok := l.contradicts(t); ok {
		p.distrustEarlier(l, t, e)
	}
	p.review()
}

// wholeGap reports whether an inconclusive trial's own evidence failed, after
// its whole gap; what an event voided is not held against the rung.
func (t *trial) wholeGap() bool {
	switch t.reason {
	case results.ReasonBurstUnconfirmed, results.ReasonLateCopy, results.ReasonCheckFailed,
		results.ReasonDuplicated, results.ReasonUnwitnessed:
		return true
	default:
		return false
	}
}

// review settles what the latest outcome changes.
func (p *plan) review() {
	all := true
	for _, l := range p.ladders {
		if !l.stands {
			p.reviewLadder(l)
		}
		all = all && l.stands
	}
	if all {
		p.e.complete = true
		p.e.end(nil)
	}
}

// reviewLadder sees whether a regime's bracket stands by now, or what it still
// needs.
func (p *plan) reviewLadder(l *ladder) {
	if p.dispute(l) {
		return
	}
	settled, confirm := l.settled()
	if confirm != nil {
		confirm.repeats = 1
	}
	if !settled {
		return
	}
	if !p.vouched(l) {
		return
	}
	if l.first == 0 {
		l.first = p.e.now
	}
	if l.refine(p.e.now, p.e.path.maxRTT(p.e.now), p.e.flowCap) || p.repeating(l) {
		return
	}
	l.stands = true
	p.abandon(l)
	l.addBonus(p.e.now)
}

// abandon drops the trials of a regime that needs no more.
func (p *plan) abandon(l *ladder) {
	p.inFlight = slices.DeleteFunc(p.inFlight, func(t *trial) bool {
		if t.rung.ladder != l {
			return false
		}
		t.abandon()
		t.rung.active--
		return true
	})
}

// dispute arranges repeats where an expiry lies below a gap that lived, and
// reports whether some dispute is open.
func (p *plan) dispute(l *ladder) bool {
	open := 0
	for _, r := range l.disputed() {
		if r.alive >= decided || r.alive+r.expired+r.wasted >= disputeTrials || r.exhausted() {
			continue
		}
		if open++; open > disputesAtOnce {
			break
		}
		if r.active == 0 && r.repeats == 0 {
			r.repeats = max(results.ConfirmingExpiries-r.expired, 1)
		}
	}
	return open > 0
}

// recertify looks again at the trials that await witnesses.
func (p *plan) recertify() {
	for _, t := range slices.Clone(p.inFlight) {
		if t.awaits {
			t.judge()
		}
	}
}

// certain returns how long each regime is proven to live.
func (p *plan) certain() time.Duration {
	least := time.Duration(-1)
	for _, l := range p.ladders {
		if lower := seconds(l.own.LowerS); least < 0 || lower < least {
			least = lower
		}
	}
	return max(least, 0)
}

// proven returns how long mappings of a regime are proven to live; 0 where
// that is not known.
func (p *plan) proven(regime results.Regime) time.Duration {
	for _, l := range p.ladders {
		if l.regime == regime {
			return seconds(l.own.LowerS)
		}
	}
	return 0
}

// longestLife returns how long the state of any mapping of this run may live: as
// long as is not yet refuted, and at most the longest gap. Where ports are few, each
// flow has the port of another, and a box further on may hold what that left for
// longer than the path as a whole lives: then nothing is refuted.
func (p *plan) longestLife() time.Duration {
	if p.scarcity.found {
		return p.e.cfg.Max
	}
	longest := time.Duration(0)
	for _, regime := range results.Regimes() {
		upper := p.e.cfg.Max
		for _, l := range p.ladders {
			if u := upperOf(l.own); l.regime == regime && u > 0 {
				upper = u
			}
		}
		longest = max(longest, upper)
	}
	return longest
}

// outlives returns how long a mapping of a regime may live in the NAT after
// its last packet, as far as is known; youngLife as long as little is.
func (p *plan) outlives(regime results.Regime) time.Duration {
	for _, l := range p.ladders {
		if l.regime == regime {
			return max(seconds(l.own.LowerS), upperOf(l.own), youngLife)
		}
	}
	return youngLife
}
