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
func (c *core) order(now time.Time, a arrival, w wire.Order) []byte {
	c.stats.Orders++
	s := c.sessions.byID[w.Session]
	if s != nil {
		if known := c.book.find(s.number, w.ID); known != nil {
			c.stats.Duplicates++
			known.duplicated = true
			return nil
		}
	}
	refusal, ok := c.admitOrder(now, a, s, w)
	var r ref
	var o *order
	if ok {
		if r, o, ok = c.book.add(s.number, w.ID, a.port, a.way); !ok {
			refusal = wire.Refusal{Code: wire.CodeCapacity, Limit: wire.LimitMemory, Value: maxPaths}
		}
	}
	if !ok {
		refusal.ID, refusal.Kind, refusal.Token = w.ID, wire.KindOrder, c.minter.Mint(a.peer.Addr(), now)
		return c.refuse(a, refusal)
	}
	at := c.since(now)
	o.at, o.epoch, o.copies = at, s.epoch, uint8(w.Copies) //nolint:gosec // at most wire.MaxCopies
	s.earn(a.size - burstBytes(a.peer.Addr(), w.Copies))
	c.sessions.touch(s, at)
	c.stats.Accepted++
	c.count(a.peer.Addr(), 1)
	if o.copies == 0 { // its receipt is all it asked for, and is bounded like an order
		c.book.finish(r)
		return nil
	}
	o.delay = uint32(w.Delay / time.Millisecond)   //nolint:gosec // at most Limits.MaxDelay
	o.spread = uint16(w.Spread / time.Millisecond) //nolint:gosec // at most wire.MaxSpread
	s.pending++
	c.book.pending++
	a.port.due.push(at, r)
	return nil
}

// count adds to the orders that an address and its network have pending.
func (c *core) count(addr netip.Addr, n int) {
	c.pending.add(address(addr), n)
	c.pending.add(network(addr), n)
}

// sessionOf returns an order's session, which outlives it.
func (c *core) sessionOf(r ref) *session { return c.sessions.table[c.book.at(r).session] }

// burstBytes returns the IP bytes of a burst to addr.
func burstBytes(addr netip.Addr, copies int) int { return copies * wire.IPBytes(addr, wire.CopySize) }

// admitOrder applies the rules to a new order. Where it says yes, the slots of
// the order's departures are taken.
func (c *core) admitOrder(now time.Time, a arrival, s *session, w wire.Order) (wire.Refusal, bool) {
	addr := a.peer.Addr()
	if s == nil {
		return wire.Refusal{Code: wire.CodeUnknownSession}, false
	}
	if !c.proven(now, addr, w.Tokens) {
		return wire.Refusal{Code: wire.CodeStaleToken}, false
	}
	no := func(code wire.Code, limit wire.LimitKind, value int) (wire.Refusal, bool) {
		return wire.Refusal{Code: code, Limit: limit, Value: limitValue(value)}, false
	}
	l, used := c.limits, c.book.pending+c.book.done
	switch {
	case w.Copies > 0 && w.Delay > l.MaxDelay:
		return no(wire.CodeQuota, wire.LimitDelay, int(l.MaxDelay/time.Second))
	case w.Copies > l.MaxCopies:
		return no(wire.CodeQuota, wire.LimitCopies, l.MaxCopies)
	case burstBytes(addr, w.Copies) > a.size:
		return no(wire.CodeBadRequest, wire.LimitPayment, burstBytes(addr, w.Copies)-wire.IPBytes(addr, 0))
	case l.Pending != Unlimited && c.pending.of(address(addr)) >= l.Pending:
		return no(wire.CodeQuota, wire.LimitPending, l.Pending)
	case l.Pending != Unlimited && c.pending.of(network(addr)) >= l.Pending*prefixShare:
		return no(wire.CodeQuota, wire.LimitPending, l.Pending*prefixShare)
	case used >= l.Orders:
		return no(wire.CodeCapacity, wire.LimitMemory, l.Orders)
	case l.Pending != Unlimited && c.pending.of(network(addr)) >= fairShare(l.Orders-used):
		return no(wire.CodeCapacity, wire.LimitMemory, fairShare(l.Orders-used))
	}
	if full, ok := c.slots.reserve(c.claims(c.since(now), addr, s.control.peer.Addr(), w)); !ok {
		return no(wire.CodeQuota, wire.LimitSlot, full.limit)
	}
	return wire.Refusal{}, true
}

// fairShare is how much one network may hold, of what is free (the dynamic
// threshold of Choudhury and Hahne, 1998). The first ones get no less by it than
// their own limits give; where forty networks try to take all, a quarter
// stays for those that come later; a hundred and more can take nearly all.
func fairShare(free int) int { return max(free/30, 8) }

// proven says whether one of the tokens is good for addr.
func (c *core) proven(now time.Time, addr netip.Addr, tokens []wire.Token) bool {
	for _, t := range tokens {
		if c.minter.Verify(addr, t, now) {
			return true
		}
	}
	return false
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

// expireOrders forgets receipts.
func (c *core) expireOrders(now time.Duration) {
	for r := c.book.popDone(now, receiptLifetime); r != 0; r = c.book.popDone(now, receiptLifetime) {
		if o := c.book.at(r); o.copies == 0 {
			c.count(o.peer().Addr(), -1)
		}
		c.book.remove(r)
	}
}
