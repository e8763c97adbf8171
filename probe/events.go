package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// stallLimit is how late the engine may be called before it takes the machine
// to have slept, or stood still.
const stallLimit = time.Second

// event notes something that happened to the network.
func (e *engine) event(reason results.Reason, detail string, voided int) {
	e.events = append(e.events, results.Event{AtS: e.now.Seconds(), Reason: reason, Detail: detail, Voided: voided})
}

// voidAll ends the trials that an event touched. The plan runs them again.
func (e *engine) voidAll(reason results.Reason, detail string, touched func(*trial) bool) {
	n := 0
	for _, t := range slices.Clone(e.plan.inFlight) {
		if touched(t) {
			n++
			t.finish(results.Inconclusive, reason)
		}
	}
	e.event(reason, detail, n)
}

// stateLost voids what was in flight when the NAT lost its state: sentinels
// that no timer explains died together, the last of them before the given
// time.
func (e *engine) stateLost(before time.Duration) {
	e.voidAll(results.ReasonNATReboot, "idle mappings that could not have expired died together: the NAT lost its state",
		func(t *trial) bool { return t.flow.sent > 0 && t.flow.first < before && !t.lived() })
}

// lived reports whether a copy already proved the trial's mapping alive.
func (t *trial) lived() bool { return t.order != nil && t.order.received != 0 && !t.lateCopy }

// restarted voids everything: a reflector that starts anew knows no orders.
func (e *engine) restarted() {
	e.voidAll(results.ReasonRestart, "the reflector restarted and forgot its orders",
		func(*trial) bool { return true })
}

// addressChanged voids what began before the control flow's own external
// address changed: the mappings of the old address are gone.
func (e *engine) addressChanged(from, to netip.AddrPort) {
	detail := "the external address changed"
	if from.Addr() == to.Addr() {
		detail = "the control flow's external port changed: its mapping was made anew"
	}
	e.voidAll(results.ReasonAddressChange, detail,
		func(t *trial) bool { return t.flow.sent > 0 && !t.lived() })
}

// outageOver voids what needed the path while it was cut.
func (e *engine) outageOver(since time.Duration) {
	e.voidAll(results.ReasonOutage, fmt.Sprintf("the path was cut for %.1f s", (e.now-since).Seconds()),
		func(t *trial) bool { return t.needsPath(since, e.now) })
}

// suspended voids what was due while the machine slept or the program stood
// still.
func (e *engine) suspended(length time.Duration) {
	since := e.now - length
	e.control.lastReply = min(e.control.lastReply+length, e.now) // so much of its silence was ours
	e.voidAll(results.ReasonSuspend, fmt.Sprintf("this machine slept or stood still for %.1f s", length.Seconds()),
		func(t *trial) bool { return t.needsPath(since, e.now) })
}

// needsPath reports whether packets of the trial were to pass between the two
// times, other than those that already did.
func (t *trial) needsPath(from, to time.Duration) bool {
	if t.order == nil {
		return true
	}
	o := t.order
	if t.lived() {
		return false
	}
	return o.sentAt >= from || o.sentAt+o.gap <= to && t.checkTime() >= from
}

// refused takes a reflector's refusal of an order and makes room for what it
// says.
func (e *engine) refused(r wire.Refusal) {
	if r.Token != (wire.Token{}) {
		e.control.tokens.extend(netip.Addr{}, r.Token)
	}
	switch r.Limit {
	case wire.LimitPending:
		if fewer := max(len(e.plan.inFlight)-descriptorReserve, minFlows); fewer < e.flowCap {
			e.flowCap = fewer
			fewer = min(fewer, int(r.Value))
			e.event(results.ReasonRefused, fmt.Sprintf("the reflector grants %d pending orders: going on with %d flows at a time", r.Value, fewer), 0)
		}
	case wire.LimitSlot: // the rung tries again, a little later
	case wire.LimitRate, wire.LimitMemory, wire.LimitSessions:
		e.plan.pause(time.Second)
	default:
		if r.Code == wire.CodeUnknownSession {
			e.plan.pause(refusedPause) // the next query names the session again
		}
	}
}
