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
	slotPackets = 96
	// slotRetries is how many of them first trials leave to those that loss
	// made necessary again, which are the more urgent.
	slotRetries = 12

	socketPause  = 500 * time.Millisecond
	refusedPause = 300 * time.Millisecond

	// confirmations is how many trials above the longest alive must expire.
	confirmations = 2
	// decided is how many repeats must live to settle a dispute as loss.
	decided = 2
	// disputeTrials ends a dispute that repeats can't settle.
	disputeTrials = 7
	// disputesAtOnce limits the repeats under way.
	disputesAtOnce = 2

	// Width of a first bracket that needs no further round.
	targetWidth = 2 * time.Second
	targetRatio = 0.05

	// youngLife stands for lifetimes as long as none is known.
	youngLife = 5 * time.Second
)

// plan decides which rung starts when, and when a regime's bracket stands.
type plan struct {
	e        *engine
	ladders  []*ladder
	inFlight []*trial
	paused   time.Duration         // until then nothing starts
	slots    map[time.Duration]int // packets ordered for each slotLength
}

func (p *plan) init(e *engine) {
	p.e = e
	p.slots = make(map[time.Duration]int)
	coarse := 1.0
	for {
		p.ladders = nil
		rungs := 0
		for _, regime := range e.cfg.Regimes {
			l := newLadder(regime, e.cfg.Min, e.cfg.Max, coarse)
			p.ladders = append(p.ladders, l)
			rungs += len(l.rungs)
		}
		// Short rungs are over before long ones start, so somewhat more rungs
		// than mappings fit at full width. A coarser ladder takes more rounds.
		if rungs*4 <= e.cfg.Flows*5 || rungs <= 4*len(p.ladders) {
			return
		}
		coarse *= 1.2
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
	next := idlePace
	if p.e.now >= p.paused && !p.e.control.outage && p.e.mappings() < p.e.flowCap-max(p.e.flowCap/sentinelReserve, 2*sentinelCount) {
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
			if l.wants(r, top, above) && p.e.now >= max(r.open-earliest, r.retryAt) && (best == nil || r.open < best.open) && p.roomFor(r) {
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
	if r.setups+r.wasted == 0 {
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

// setup returns how long a flow of this regime takes to fall silent.
func (l *ladder) setup() time.Duration {
	switch l.regime {
	case results.Stream:
		return streamAge
	case results.Oneway:
		return openGap
	default:
		return 0
	}
}

// wants reports whether a rung needs a trial now: top is the longest gap that
// lived, above the number of expiries between it and the rung.
func (l *ladder) wants(r *rung, top time.Duration, above int) bool {
	switch {
	case r.exhausted():
		return false
	case l.stands:
		return r.bonus && r.active == 0 && !r.concluded()
	case r.repeats > 0:
		return true
	case r.active > 0 || r.concluded():
		return false
	default:
		return r.gap > top && above < confirmations
	}
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
	case t.wholeGap():
		r.wasted++
	default:
		r.setups++
		r.retryAt = p.e.now + setupRetry
		if t.reason == results.ReasonRefused {
			r.retryAt = p.e.now + refusedPause // its slot is full at that time
		}
	}
	l.record(t)
	p.review()
}

// wholeGap reports whether an inconclusive trial's own evidence failed, after
// its whole gap; what an event voided is not held against the rung.
func (t *trial) wholeGap() bool {
	switch t.reason {
	case results.ReasonBurstUnconfirmed, results.ReasonLateCopy, results.ReasonCheckFailed,
		results.ReasonDuplicated, results.ReasonLoss, results.ReasonUnwitnessed:
		return true
	default:
		return false
	}
}

// review settles what the latest outcome changes.
func (p *plan) review() {
	all := true
	for _, l := range p.ladders {
		if !l.stands && !p.dispute(l) && p.bracketStands(l) {
			if l.stands = !p.refine(l); l.stands {
				p.abandon(l)
				l.addBonus(p.e.now)
			}
		}
		all = all && l.stands
	}
	if !all {
		return
	}
	p.e.complete = true
	p.e.end(nil)
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
		if r.expired >= results.ConfirmingExpiries {
			break // a band: the expiries above count without repeats
		}
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

// disputed returns the rungs with an expiry below a longer gap that lived, or
// with both outcomes, by ascending gap.
func (l *ladder) disputed() []*rung {
	var list []*rung
	for _, d := range l.assess.Disputes {
		i, found := slices.BinarySearchFunc(l.rungs, d.GapS, func(r *rung, g float64) int {
			switch s := r.gap.Seconds(); {
			case s < g:
				return -1
			case s > g:
				return 1
			default:
				return 0
			}
		})
		if found && !slices.Contains(list, l.rungs[i]) {
			list = append(list, l.rungs[i])
		}
	}
	slices.SortFunc(list, func(a, b *rung) int { return int(a.gap - b.gap) })
	return list
}

// bracketStands reports whether one rung expired, one above it confirms, and
// nothing between it and the longest alive is open; or whether nothing more
// can be learned.
func (p *plan) bracketStands(l *ladder) bool {
	top, expired := l.top(), 0
	narrow := l.narrow()
	openBelow, openAbove := false, false
	var first *rung
	for _, r := range l.rungs {
		if r.gap <= top {
			continue
		}
		if r.expired > 0 && first == nil {
			first = r
		}
		open := r.active > 0 || l.wants(r, top, expired)
		openBelow = openBelow || open && first == nil
		openAbove = openAbove || open
		expired += r.expired
		if expired >= confirmations && (narrow || !openBelow) {
			return true
		}
	}
	if first != nil && !openAbove && expired < confirmations && !first.exhausted() {
		first.repeats = 1 // no longer gap is left to confirm with
		return false
	}
	return !openAbove
}

// target returns how wide a bracket may be.
func (l *ladder) target() time.Duration {
	target := max(targetWidth, time.Duration(targetRatio*float64(l.lower())))
	if l.regime == results.Oneway {
		target = time.Duration(onewayCoarse * float64(target))
	}
	return target
}

// narrow reports whether the bracket has its target's width.
func (l *ladder) narrow() bool {
	return l.lower() > 0 && l.upper() > 0 && l.upper()-l.lower() <= l.target()
}

// refine adds a round of rungs inside a bracket that is too wide, and reports
// whether it did.
func (p *plan) refine(l *ladder) bool {
	lower, upper := l.lower(), l.upper()
	coarse := 1.0
	if l.regime == results.Oneway {
		coarse = onewayCoarse
	}
	if p.firstBrackets() && p.e.effort.FirstBracketS == 0 {
		p.e.effort.FirstBracketS = p.e.now.Seconds()
	}
	if upper == 0 || lower == 0 || l.narrow() || l.rounds == maxRounds || l.assess.Lifetime.Shape == results.Band {
		return false
	}
	before := len(l.rungs)
	top := l.top()
	for g := top + step(top, coarse); g < upper-burstSpread; g += step(g, coarse) {
		l.add(g.Round(time.Millisecond), p.e.now-orderBy)
	}
	if len(l.rungs) == before {
		return false
	}
	l.rounds++
	return true
}

// firstBrackets reports whether each regime has had a first bracket.
func (p *plan) firstBrackets() bool {
	for _, l := range p.ladders {
		if !l.stands && l.rounds == 1 && !p.bracketStands(l) {
			return false
		}
	}
	return true
}

// recertify looks again at the trials that await witnesses.
func (p *plan) recertify() {
	for _, t := range slices.Clone(p.inFlight) {
		if t.looksDead {
			t.judge()
		}
	}
}

// certain returns how long each regime is proven to live.
func (p *plan) certain() time.Duration {
	least := time.Duration(-1)
	for _, l := range p.ladders {
		if lower := l.lower(); least < 0 || lower < least {
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
			return l.lower()
		}
	}
	return 0
}

// outlives returns how long a mapping of a regime may live in the NAT after
// its last packet, as far as is known; youngLife as long as little is.
func (p *plan) outlives(regime results.Regime) time.Duration {
	for _, l := range p.ladders {
		if l.regime == regime {
			return max(l.lower(), l.upper(), youngLife)
		}
	}
	return youngLife
}
