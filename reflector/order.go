package reflector

import (
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// receiptLifetime is how long an order is remembered after its last copy: several
// outages' worth of retries of the query that asks for it.
const receiptLifetime = time.Minute

// order is an accepted order, from its arrival until its receipt is forgotten.
type order struct {
	id         wire.ID
	session    *session
	port       *port
	from       way
	beacons    netip.Addr // where its beacons' slots were taken
	arrived    time.Duration
	delay      time.Duration
	spread     time.Duration
	copies     int
	duplicated bool

	next int             // the copy that leaves at due; copies: none is left
	due  time.Duration   // when it leaves; after the last copy: when that left
	gaps []time.Duration // of the copies that have left
}

// departure returns when copy i is due.
func (o *order) departure(i int) time.Duration {
	due := o.arrived + o.delay
	if o.copies > 1 {
		due += o.spread * time.Duration(i) / time.Duration(o.copies-1)
	}
	return due
}

// receipt returns what became of an order; of a nil one, that it is unknown.
func (o *order) receipt(id wire.ID) wire.Receipt {
	if o == nil {
		return wire.Receipt{ID: id}
	}
	r := wire.Receipt{ID: id, State: wire.StatePending, Duplicated: o.duplicated, From: o.from.peer}
	if o.next == o.copies {
		r.State, r.Gaps = wire.StateSent, o.gaps
	}
	return r
}

// order admits an order, in silence, or refuses it.
func (c *core) order(now time.Time, a arrival, w wire.Order) []byte {
	c.stats.Orders++
	s := c.sessions.byID[w.Session]
	if s != nil {
		if known := s.orders[w.ID]; known != nil {
			c.stats.Duplicates++
			known.duplicated = true
			return nil
		}
	}
	refusal, ok := c.admitOrder(now, a, s, w)
	if !ok {
		refusal.ID, refusal.Kind, refusal.Token = w.ID, wire.KindOrder, c.minter.Mint(a.peer.Addr(), now)
		return c.refuse(a, refusal)
	}
	at := c.since(now)
	o := &order{
		id: w.ID, session: s, port: a.port, from: a.way, beacons: s.control.peer.Addr(),
		arrived: at, delay: w.Delay, spread: w.Spread, copies: w.Copies,
	}
	s.orders[w.ID] = o
	s.earn(a.size - burstBytes(a.peer.Addr(), w.Copies))
	c.sessions.touch(s, at)
	c.stats.Accepted++
	c.pending[address(a.peer.Addr())]++
	c.pending[network(a.peer.Addr())]++
	if o.copies == 0 { // its receipt is all it asked for, and is bounded like an order
		o.due = at
		c.done = append(c.done, o)
		return nil
	}
	o.due = o.departure(0)
	s.pending++
	c.stats.Pending++
	a.port.due.push(o)
	return nil
}

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
	l := c.limits
	switch {
	case w.Copies > 0 && w.Delay > l.MaxDelay:
		return no(wire.CodeQuota, wire.LimitDelay, int(l.MaxDelay/time.Second))
	case w.Copies > l.MaxCopies:
		return no(wire.CodeQuota, wire.LimitCopies, l.MaxCopies)
	case burstBytes(addr, w.Copies) > a.size:
		return no(wire.CodeBadRequest, wire.LimitPayment, burstBytes(addr, w.Copies)-wire.IPBytes(addr, 0))
	case l.Pending != Unlimited && c.pending[address(addr)] >= l.Pending:
		return no(wire.CodeQuota, wire.LimitPending, l.Pending)
	case l.Pending != Unlimited && c.pending[network(addr)] >= l.Pending*prefixShare:
		return no(wire.CodeQuota, wire.LimitPending, l.Pending*prefixShare)
	case c.stats.Pending+len(c.done) >= l.Orders:
		return no(wire.CodeCapacity, wire.LimitMemory, l.Orders)
	}
	if full, ok := c.slots.reserve(c.claims(c.since(now), addr, s.control.peer.Addr(), w)); !ok {
		return no(wire.CodeQuota, wire.LimitSlot, full.limit)
	}
	return wire.Refusal{}, true
}

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
	o := order{arrived: now, delay: w.Delay, spread: w.Spread, copies: w.Copies}
	var claims []claim
	for i := 0; i < w.Copies; {
		due, count := o.departure(i), 0
		for ; i < w.Copies && slotOf(o.departure(i)) == slotOf(due); i++ {
			count++
		}
		for _, addr := range []netip.Addr{source, control} {
			claims = append(claims,
				claim{group: address(addr), due: due, count: count, limit: c.limits.SlotAddress},
				claim{group: network(addr), due: due, count: count, limit: c.limits.SlotPrefix})
		}
	}
	return claims
}

// expireOrders forgets receipts.
func (c *core) expireOrders(now time.Duration) {
	n := 0
	for ; n < len(c.done) && now-c.done[n].due >= receiptLifetime; n++ {
		o := c.done[n]
		delete(o.session.orders, o.id)
		if o.copies == 0 {
			release(c.pending, o.from.peer.Addr())
		}
		c.done[n] = nil
	}
	c.done = c.done[n:]
}
