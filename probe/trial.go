package probe

import (
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

const (
	// burstSpread keeps a burst within half a second, and a bracket within its
	// target at lifetimes where a rung is 1.5 s.
	burstSpread = 300 * time.Millisecond

	// openGap parts the two packets of a oneway flow.
	openGap = 500 * time.Millisecond

	// exchangeLimit is the age below which Linux does not take a flow for a
	// stream, less a margin for the path.
	exchangeLimit = 1500 * time.Millisecond

	// A stream opens with round trips until streamAge, then falls silent. A
	// timer shorter than the pauses between them can't be measured; none is
	// known below 2 s.
	streamHello   = 520 * time.Millisecond
	streamAge     = 3200 * time.Millisecond
	streamReplies = 3
	// streamPatience ends a conversation that loss keeps from growing.
	streamPatience = 7 * time.Second

	// checkMargin is how long after the last copy's due time and the largest
	// RTT the check leaves.
	checkMargin = 150 * time.Millisecond
	checkRetry  = 250 * time.Millisecond
	checkTries  = 8
	// receiptPatience is how long after the check a receipt may take.
	receiptPatience = 4 * time.Second
)

type phase uint8

const (
	phaseSetup    phase = iota // round trips before the order
	phaseSilent                // the order is out, its burst awaited
	phaseChecking              // no copy came in time: is the flow alive at all?
	phaseJudging               // receipt or witnesses awaited
	phaseOver
)

// trial is one mapping that is left silent for a gap.
type trial struct {
	e    *engine
	rung *rung

	flow *flow
	// keeps leaves the flow open to a successor when the trial lived; proven
	// is a time at which a predecessor's mapping is known to have lived.
	keeps  bool
	proven time.Duration
	// reach is how many hops the flow is kept alive during the silence, or
	// wholeWay; 0: not at all.
	reach  int
	phase  phase
	order  *order
	tokens []wire.Token // in-flow, for exchange and stream

	opening    *order                    // of no copies: a oneway flow's first packet
	asked      map[wire.ID]time.Duration // hellos that weren't answered, and checks, by when they were sent
	replies    int                       // answers to them
	external   netip.AddrPort            // the mapping that they saw
	answered   time.Duration             // when the first of them that was answered was sent
	heard      time.Duration             // when the first copy arrived, and
	told       time.Duration             // the gap in it
	checkTry   int
	checked    bool // the check was answered
	remapped   bool
	reused     bool // its external port may still have another flow's state
	lateCopy   bool // a copy came after the check had left
	judgeUntil time.Duration
	certifyEnd time.Duration
	awaits     bool // everything but the witnesses is there
	looksDead  bool // and says expired

	outcome  results.Outcome
	reason   results.Reason
	measured time.Duration
	bound    time.Duration

	checkMapped wire.CheckReply
}

// begin opens the flow and brings it into its regime. A flow that a predecessor
// left is there already.
func (t *trial) begin() {
	if t.flow != nil {
		t.flow.owner = t
		t.send()
		return
	}
	t.flow = t.e.open(t, t.rung.ladder.regime)
	switch t.rung.ladder.regime {
	case results.Solitary:
		t.send()
	case results.Oneway:
		t.opening = t.e.orders.place((*opening)(t), t.flow, t.e.control.tokens.all(), 0, 0, 0)
		t.e.after(openGap, t.send)
	case results.Exchange:
		t.hello()
		t.e.after(exchangeLimit, t.setupFailed)
	case results.Stream:
		t.converse()
	}
}

func (t *trial) hello() {
	t.e.send(t.flow, wire.Hello{ID: t.newID(), Token: t.token()}.Encode())
}

// converse keeps a stream's round trips going until they span streamAge. A
// round trip counts from the first request that was answered: an earlier one
// may never have reached the NAT. The pause before the order is long enough
// for the last answer, so that the last packet is outbound.
func (t *trial) converse() {
	if t.phase != phaseSetup {
		return
	}
	quiet := max(streamHello, t.e.path.maxRTT(t.e.now)+checkMargin)
	begun := t.e.now // the round trips that count
	if t.replies > 0 {
		begun = t.answered
	}
	switch {
	case t.flow.sent > 0 && t.e.now-t.flow.first > streamPatience:
		t.setupFailed()
	case t.replies >= streamReplies && t.e.now-begun >= streamAge:
		t.send()
	case t.replies > 0 && begun+streamAge-t.e.now < streamHello+quiet:
		t.e.at(max(begun+streamAge, t.flow.last+quiet), t.converse)
		if t.replies < streamReplies {
			t.hello()
		}
	default:
		t.hello()
		t.e.after(streamHello, t.converse)
	}
}

func (t *trial) setupFailed() {
	if t.phase == phaseSetup {
		if t.replies == 0 && t.flow.sent > 0 {
			t.e.pressure.opened(t.flow, false)
		}
		if t.phase == phaseOver { // by what that led to
			return
		}
		t.finish(results.Inconclusive, results.ReasonSetupLost)
	}
}

// opening owns the order of no copies that opens a oneway trial. Where it was
// lost, the NAT may have seen one packet only.
type opening trial

func (o *opening) orderLost()    { (*trial)(o).finish(results.Inconclusive, results.ReasonSetupLost) }
func (o *opening) portReused()   { (*trial)(o).portReused() }
func (o *opening) burstSettled() {}

// send places the order, with which the silence begins.
func (t *trial) send() {
	if t.phase != phaseSetup {
		return
	}
	tokens := t.tokens
	if tokens == nil {
		tokens = t.e.control.tokens.all()
	}
	copies := t.e.path.copies()
	t.phase = phaseSilent
	t.order = t.e.orders.place(t, t.flow, tokens, t.rung.gap, burstSpread, min(copies, t.e.control.limits.MaxCopies))
	t.e.plan.reserve(t.order)
	t.keepNear()
	t.e.at(t.checkTime(), t.checkOrJudge)
}

// checkTime is when no copy can be on its way any more.
func (t *trial) checkTime() time.Duration {
	return t.order.burstEnds() + t.e.path.maxRTT(t.e.now) + checkMargin
}

// token returns one that is good for the flow's address, as far as that is known:
// behind a pool of addresses it may be another than the control flow's.
func (t *trial) token() wire.Token {
	if len(t.tokens) > 0 {
		return t.tokens[0]
	}
	return t.e.control.tokens.first()
}

func (t *trial) failed(error) {
	t.e.plan.pause(socketPause)
	t.finish(results.Inconclusive, results.ReasonSocket)
}

func (t *trial) orderLost() {
	if t.phase == phaseSilent && t.e.now < t.order.burstEnds() && t.order.received == 0 && !t.order.arrived {
		t.e.plan.release(t.order)
		t.finish(results.Inconclusive, results.ReasonOrderLost)
		return
	}
	t.finish(results.Inconclusive, results.ReasonBurstUnconfirmed)
}

func (t *trial) burstSettled() {
	if t.phase == phaseJudging {
		t.judge()
	}
}

// checkOrJudge follows the burst: where a copy came, the trial lived; where
// none did, the flow is checked.
func (t *trial) checkOrJudge() {
	if t.phase != phaseSilent {
		return
	}
	// RTTs may have grown since the check was planned.
	if due := t.checkTime(); due > t.e.now {
		t.e.at(due, t.checkOrJudge)
		return
	}
	t.judgeUntil = t.e.now + receiptPatience
	if t.order.received != 0 {
		t.phase = phaseJudging
		t.e.at(t.judgeUntil, t.judge)
		t.judge()
		return
	}
	t.phase = phaseChecking
	t.check()
}

func (t *trial) check() {
	if t.phase != phaseChecking {
		return
	}
	if t.checkTry == checkTries {
		t.finish(results.Inconclusive, results.ReasonCheckFailed)
		return
	}
	t.checkTry++
	t.e.send(t.flow, wire.Check{ID: t.newID(), Token: t.token()}.Encode())
	t.e.after(max(checkRetry, t.e.path.maxRTT(t.e.now)*5/4), t.check)
}

// judge concludes as soon as the evidence is complete.
func (t *trial) judge() {
	if t.phase == phaseOver {
		return
	}
	if t.phase == phaseChecking {
		t.phase = phaseJudging
		t.judgeUntil = t.e.now + receiptPatience
		t.e.at(t.judgeUntil, t.judge)
	}
	o := t.order
	if o.receipt == nil {
		if t.e.now >= t.judgeUntil {
			t.finish(results.Inconclusive, results.ReasonBurstUnconfirmed)
		}
		return
	}
	t.remapped = t.checked && o.receipt.From.IsValid() && o.receipt.From != t.checkMapped.Mapped
	first, last, sent := o.sent()
	switch {
	case o.receipt.Duplicated:
		t.finish(results.Inconclusive, results.ReasonDuplicated)
	case t.lateCopy:
		t.finish(results.Inconclusive, results.ReasonLateCopy)
	case sent == 0, t.opening != nil && t.opening.receipt == nil:
		t.finish(results.Inconclusive, results.ReasonBurstUnconfirmed)
	case t.external.IsValid() && o.receipt.From != t.external:
		t.finish(results.Inconclusive, results.ReasonSetupLost) // made anew before its silence
	case o.received != 0 && t.reused:
		t.finish(results.Inconclusive, results.ReasonReused)
	case o.received != 0:
		// By both sides' clocks: the reflector's may run fast.
		t.measured = first
		t.bound = min(first, first-t.told+t.heard-o.sentAt-t.e.path.min)
		if t.flow.first == o.sentAt || t.proven > 0 { // there was no setup, or a predecessor's
			t.finish(results.Alive, results.ReasonNone)
			return
		}
		t.certify(results.Alive, o.sentAt+t.e.path.jitter(o.sentAt))
	case sent < o.copies || 2*o.beaconCount() <= o.copies:
		t.finish(results.Inconclusive, results.ReasonBurstUnconfirmed)
	case !t.e.path.burstTold(o.copies):
		t.finish(results.Inconclusive, results.ReasonLoss)
	default:
		t.measured = last
		// The reflector's clock may run slow, or the program have stood still between an
		// arrival and its own look at it: a beacon came after the copies beside it.
		t.bound = max(last+max(t.e.path.maxRTT(o.sentAt), t.e.path.maxRTT(t.e.now)), o.beaconAt-o.sentAt)
		t.certify(results.Expired, o.sentAt+t.e.path.jitter(o.sentAt)+t.bound)
	}
}

// certify waits until flows that lived cover the trial up to a time: no loss of
// the NAT's state hides there. An expiry needs that for its whole silence, and
// a trial that lived for its setup, or it may have been in another regime.
func (t *trial) certify(outcome results.Outcome, until time.Duration) {
	if t.e.cover.covers(max(t.flow.first, t.proven), until) {
		t.finish(outcome, results.ReasonNone)
		return
	}
	if !t.awaits {
		t.awaits = true
		if t.looksDead = outcome == results.Expired; t.looksDead {
			t.rung.suspected++
		}
		t.certifyEnd = t.e.now + t.e.sentinels.patience()
		t.e.at(t.certifyEnd, t.judge)
	}
	if t.e.now >= t.certifyEnd {
		t.finish(results.Inconclusive, results.ReasonUnwitnessed)
	}
}

// finish ends the trial and tells the plan.
func (t *trial) finish(outcome results.Outcome, reason results.Reason) {
	if t.phase == phaseOver {
		return
	}
	t.outcome, t.reason = outcome, reason
	t.phase = phaseOver
	t.forget()
	if !t.keeps || outcome != results.Alive {
		t.e.close(t.flow)
	}
	t.e.finished = append(t.e.finished, t)
	t.e.trialOver(t)
}

// abandon ends the trial without a result.
func (t *trial) abandon() {
	t.phase = phaseOver
	t.forget()
	t.e.close(t.flow)
}

// forget drops the trial's orders.
func (t *trial) forget() {
	t.e.orders.forget(t.order)
	t.e.orders.forget(t.opening)
}

// result returns the trial as the record keeps it.
func (t *trial) result() results.Trial {
	r := results.Trial{
		Regime: t.rung.ladder.regime, GapS: t.rung.gap.Seconds(),
		Outcome: t.outcome, Reason: t.reason, Remapped: t.remapped,
		StartedAt: t.e.start.Add(t.flow.first),
	}
	if t.outcome != results.Inconclusive {
		r.MeasuredGapS, r.BoundS = t.measured.Seconds(), t.bound.Seconds()
	}
	if o := t.order; o != nil {
		r.CopiesReceived, r.Beacons = o.copyCount(), o.beaconCount()
		if o.receipt != nil {
			_, _, r.CopiesSent = o.sent()
		}
	}
	return r
}
