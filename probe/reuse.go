package probe

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/results"
)

// A box on the path may still hold what an earlier flow left of an external
// address: an inner NAT of a chain, or one with few ports, gives the port of an
// expired mapping to the next flow. Its state can only make the next flow's
// mapping live longer. So a trial on such a port that lives shows nothing, and one
// that expires shows as much as any.

// sawExternal notes the external address of a flow, and reports whether a box on
// the path may still hold another flow's state for it. That may be a stream's,
// whatever the other flow was for: its burst made it one.
func (e *engine) sawExternal(f *flow, addr netip.AddrPort) (reused bool) {
	if !addr.IsValid() {
		return false
	}
	f.traced = true
	old := e.externals[addr]
	if old != nil && old.first > f.first {
		// It is told late: the newer flow has what this one left.
		if t, ok := old.owner.(*trial); ok && t.phase != phaseOver && f.lastSeen() > old.first-e.plan.longestLife() {
			t.portReused()
		}
		return false
	}
	seen := time.Duration(-1)
	if old != nil && old != f {
		seen = old.lastSeen()
	}
	if e.plan.scarcity.found {
		seen = max(seen, e.untracedAt)
	}
	e.externals[addr] = f
	return seen > 0 && e.now-seen < e.plan.longestLife()+burstSpread
}

// untraced notes a flow that is over, or whose order was lost, before it was known
// from which external address it came. Where nothing is lost on the path, and there
// was time for an answer, it never came as far as that.
func (e *engine) untraced(f *flow) {
	lossless := e.path.outLost+e.path.inLost == 0
	if f.traced || lossless && e.now-f.first > 2*e.path.maxRTT(e.now)+askMargin {
		return
	}
	e.untracedAt = max(e.untracedAt, f.lastSeen())
}

const (
	// Where so many trials met used ports, and one in so many of all, it is no
	// chance: the NAT has few ports for this machine.
	scarceReused = 8
	scarceShare  = 8
)

// scarcity notices a NAT that has few ports.
type scarcity struct {
	reused int // trials on used ports
	found  bool
}

// met takes a trial that met a used port.
func (p *plan) met(r *rung) {
	r.reusedAt = p.e.now
	p.scarcity.reused++
	if p.scarcity.found || p.scarcity.reused < scarceReused || p.scarcity.reused*scarceShare < len(p.e.finished) {
		return
	}
	p.scarcity.found = true
	p.e.flowCap = min(p.e.flowCap, GentleFlows)
	p.thin()
	p.e.event(results.ReasonReused, fmt.Sprintf("the NAT gives ports of earlier flows to new ones: it has few for this machine; "+
		"going on with %d flows at a time, and trying again what lived on a used port when that has rested for %v; a smaller --max makes it quicker",
		p.e.flowCap, p.e.cfg.Max), 0)
}

// cleanAt is when a rung that met a used port has a chance of a clean one, where
// ports are few.
func (p *plan) cleanAt(r *rung) time.Duration {
	if !p.scarcity.found || r.reusedAt == 0 {
		return 0
	}
	return r.reusedAt + p.longestLife() + burstSpread
}

// portReused ends a trial on a used port, unless ports are few and its gap may
// show an expiry.
func (t *trial) portReused() {
	t.reused = true
	if !t.e.plan.scarcity.found || t.rung.gap <= t.rung.ladder.lowerGap() {
		t.finish(results.Inconclusive, results.ReasonReused)
	}
}
