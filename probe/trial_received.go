package probe

import (
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// What comes in on a trial's flow. Everything may refresh its mapping: what isn't an
// answer to a request of the trial's own makes its silence worth nothing.

// newID names a request, so that its answer is known.
func (t *trial) newID() wire.ID {
	id := wire.NewID()
	if t.asked == nil {
		t.asked = make(map[wire.ID]time.Duration)
	}
	t.asked[id] = t.e.now
	return id
}

func (t *trial) hasAsked(id wire.ID) bool {
	_, ok := t.asked[id]
	return ok
}

func (t *trial) received(r wire.Reply) {
	switch r := r.(type) {
	case wire.HelloReply:
		t.greeted(r)
	case wire.Burst:
		t.copyArrived(r.Copy)
	case wire.CheckReply:
		t.checkAnswered(r)
	case wire.Refusal:
		t.refused(r)
	default:
		t.stray()
	}
}

func (t *trial) checkAnswered(r wire.CheckReply) {
	if !t.hasAsked(r.ID) {
		t.stray()
		return
	}
	t.e.sawExternal(t.flow, r.Mapped)
	t.tooFar()
	if t.phase == phaseChecking {
		t.checked = true
		t.checkMapped = r
		t.judge()
	}
}

func (t *trial) greeted(r wire.HelloReply) {
	if t.phase != phaseSetup {
		if t.phase == phaseSilent {
			// The mapping saw an inbound packet after the order: its silence
			// is not the one that was meant.
			t.finish(results.Inconclusive, results.ReasonSetupLost)
		}
		return
	}
	sent, ok := t.asked[r.ID]
	if !ok { // answered before, or nobody here asked
		t.stray()
		return
	}
	delete(t.asked, r.ID)
	if t.e.sawExternal(t.flow, r.Mapped) {
		if t.portReused(); t.phase == phaseOver {
			return
		}
	}
	if t.external.IsValid() && t.external != r.Mapped {
		t.setupFailed() // the mapping was made anew
		return
	}
	t.external = r.Mapped
	if t.replies == 0 {
		t.e.pressure.opened(t.flow, true)
	}
	if t.replies++; t.replies == 1 || sent < t.answered {
		t.answered = sent
	}
	t.tokens = []wire.Token{r.Token}
	t.e.control.tokens.extend(r.Mapped.Addr(), r.Token)
	if t.rung.ladder.regime == results.Exchange {
		// Not by the time when the answer was read: the order may leave much later.
		t.e.after(0, func() {
			if t.e.now-t.flow.first > exchangeLimit {
				t.setupFailed()
				return
			}
			t.send()
		})
	}
}

func (t *trial) refused(r wire.Refusal) {
	switch {
	case t.order != nil && r.ID == t.order.id:
		t.e.plan.release(t.order)
	case t.opening != nil && r.ID == t.opening.id, t.hasAsked(r.ID):
	default:
		t.stray()
		return
	}
	t.e.refused(r)
	t.finish(results.Inconclusive, results.ReasonRefused)
}

// stray ends a trial whose silence somebody broke: the NAT may have given the
// external port of an expired mapping to this flow, and with it what was meant
// for the other; or somebody sends in this side's name, and the reflector answers
// here. A stream alone may have as many packets before its silence as come.
func (t *trial) stray() {
	switch {
	case t.phase == phaseSilent && t.order.received == 0:
	case t.phase == phaseSetup && t.rung.ladder.regime != results.Stream:
	default:
		return
	}
	t.finish(results.Inconclusive, results.ReasonStray)
}

func (t *trial) copyArrived(c wire.Copy) {
	if t.order == nil || c.ID != t.order.id {
		t.stray()
		return
	}
	first := t.order.received == 0
	t.order.received |= 1 << c.Index
	t.order.arrived = true
	switch {
	case t.phase == phaseSilent && first:
		t.heard, t.told = t.e.now, c.Gap
		// Whatever the verdict, this mapping lived through its silence.
		t.e.witness(t.order.sentAt, t.e.now)
	case t.phase >= phaseChecking && first:
		t.lateCopy = true
	}
}
