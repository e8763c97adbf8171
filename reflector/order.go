package reflector

import (
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// receiptLifetime is how long an order is remembered after its last copy: several
// outages' worth of retries of the query that asks for it.
const receiptLifetime = time.Minute

// order admits an order, in silence, or refuses it.
func (c *core) order(v visit, w wire.Order) wire.Reply {
	s := c.sessions.byID[w.Session]
	if s == nil {
		return wire.Refusal{Code: wire.CodeUnknownSession}
	}
	if known := c.book.find(s.number, w.ID); known != nil {
		c.stats.Duplicates++
		known.duplicated = true
		return nil
	}
	if refusal, ok := c.admitOrder(v, w); !ok {
		return refusal
	}
	at := c.since(v.at)
	claims := c.claims(at, v.peer.Addr(), s.control.peer.Addr(), w)
	if full, ok := c.slots.reserve(claims); !ok {
		return wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitSlot, Value: limitValue(full.limit)}
	}
	r, o, ok := c.book.add(s.number, w.ID, v.port, v.way)
	if !ok {
		c.slots.release(claims)
		return wire.Refusal{Code: wire.CodeCapacity, Limit: wire.LimitMemory, Value: maxPaths}
	}
	o.at, o.epoch, o.copies = at, s.epoch, uint8(w.Copies) //nolint:gosec // at most wire.MaxCopies
	s.earn(v.size - burstBytes(v.peer.Addr(), w.Copies))
	c.sessions.touch(s, at)
	c.stats.Accepted++
	c.count(v.peer.Addr(), 1)
	c.hold(v.peer.Addr(), 1)
	if o.copies == 0 { // its receipt is all it asked for, and is bounded like an order
		c.book.finish(r)
		return nil
	}
	o.delay = uint32(w.Delay / time.Millisecond)   //nolint:gosec // at most Limits.MaxDelay
	o.spread = uint16(w.Spread / time.Millisecond) //nolint:gosec // at most wire.MaxSpread
	s.pending++
	c.book.pending++
	v.port.due.push(at, r)
	return nil
}

// count adds to the orders that an address and its network have pending.
func (c *core) count(addr netip.Addr, n int) {
	c.pending.add(address(addr), n)
	c.pending.add(network(addr), n)
}

// hold adds to the orders in memory, pending and remembered, of an address's groups.
func (c *core) hold(addr netip.Addr, n int) {
	for _, s := range shares {
		c.held.add(groupOf(addr, s.of), n)
	}
}

// sessionOf returns a pending order's session, which outlives it.
func (c *core) sessionOf(r ref) *session { return c.sessions.table[c.book.at(r).session] }

// burstBytes returns the IP bytes of a burst to addr.
func burstBytes(addr netip.Addr, copies int) int { return copies * wire.IPBytes(addr, wire.CopySize) }

// admitOrder applies the rules to a new order, but for those on when its copies
// leave.
func (c *core) admitOrder(v visit, w wire.Order) (wire.Refusal, bool) {
	addr := v.peer.Addr()
	no := func(code wire.Code, limit wire.LimitKind, value int) (wire.Refusal, bool) {
		return wire.Refusal{Code: code, Limit: limit, Value: limitValue(value)}, false
	}
	l, used := c.limits, c.book.pending+c.book.done
	switch {
	case w.Copies > 0 && w.Delay > l.MaxDelay:
		return no(wire.CodeQuota, wire.LimitDelay, int(l.MaxDelay/time.Second))
	case w.Copies > l.MaxCopies:
		return no(wire.CodeQuota, wire.LimitCopies, l.MaxCopies)
	case burstBytes(addr, w.Copies) > v.size:
		return no(wire.CodeBadRequest, wire.LimitPayment, burstBytes(addr, w.Copies)-wire.IPBytes(addr, 0))
	case l.Pending != Unlimited && c.pending.of(address(addr)) >= l.Pending:
		return no(wire.CodeQuota, wire.LimitPending, l.Pending)
	case l.Pending != Unlimited && c.pending.of(network(addr)) >= l.Pending*prefixShare:
		return no(wire.CodeQuota, wire.LimitPending, l.Pending*prefixShare)
	case used >= l.Orders:
		return no(wire.CodeCapacity, wire.LimitMemory, l.Orders)
	}
	if l.Pending != Unlimited {
		if _, share, ok := fits(addr, c.held.of, used, l.Orders); !ok {
			return no(wire.CodeCapacity, wire.LimitMemory, share)
		}
	}
	return wire.Refusal{}, true
}

// claims lists an order's departures: each copy to its source, and with each a
// beacon to the control flow, whether credit will pay for that or not.
func (c *core) claims(now time.Duration, source, control netip.Addr, w wire.Order) []claim {
	o := order{at: now, delay: uint32(w.Delay / time.Millisecond), spread: uint16(w.Spread / time.Millisecond), copies: uint8(w.Copies)} //nolint:gosec // within limits
	claims := c.claimed[:0]
	for i := 0; i < w.Copies; {
		due, count := now+o.offset(i), 0
		for ; i < w.Copies && slotOf(now+o.offset(i)) == slotOf(due); i++ {
			count++
		}
		for _, addr := range [...]netip.Addr{source, control} {
			claims = append(claims,
				claim{group: address(addr), due: due, count: count, limit: c.limits.SlotAddress},
				claim{group: network(addr), due: due, count: count, limit: c.limits.SlotPrefix})
		}
	}
	c.claimed = claims
	return claims
}

// expireOrders forgets receipts: so many at a time that what waits meanwhile isn't
// late, and more than come in.
func (c *core) expireOrders(now time.Duration) (more bool) {
	for range expireBatch {
		r := c.book.popDone(now, receiptLifetime)
		if r == 0 {
			return false
		}
		o := c.book.at(r)
		if o.copies == 0 {
			c.count(o.peer().Addr(), -1)
		}
		c.hold(o.peer().Addr(), -1)
		c.book.remove(r)
	}
	return true
}

// expireBatch is how much is forgotten at a time.
const expireBatch = 64
