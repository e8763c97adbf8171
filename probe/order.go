package probe

import (
	"math/bits"
	"slices"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

const (
	// askMargin is how long after an order's likely arrival a query must have
	// left before its "unknown" means that the order was lost.
	askMargin = 50 * time.Millisecond
	// askAgain is the least time between two questions about one order.
	askAgain = 100 * time.Millisecond
)

// order is one request for a delayed burst.
type order struct {
	id     wire.ID
	flow   *flow
	owner  orderOwner
	gap    time.Duration // asked for, to the first copy
	spread time.Duration // from the first copy to the last
	copies int
	sentAt time.Duration

	arrived  bool
	receipt  *wire.Receipt // once the burst has left
	beacons  uint16        // which copies' beacons arrived
	beaconAt time.Duration // when the last of them did
	received uint16        // which copies arrived
	asked    time.Duration
}

// orderOwner is told what becomes of its order.
type orderOwner interface {
	orderLost()    // it never arrived, or the reflector has forgotten it
	portReused()   // it came from an external address that another flow just had
	burstSettled() // the receipt has come
}

// burstEnds is when the last copy has left, as far as this side can tell.
func (o *order) burstEnds() time.Duration { return o.sentAt + o.gap + o.spread }

// opens reports whether the order is the first packet of its flow.
func (o *order) opens() bool { return o.flow.first == o.sentAt }

func (o *order) beaconCount() int { return bits.OnesCount16(o.beacons) }
func (o *order) copyCount() int   { return bits.OnesCount16(o.received) }

// sent returns the gaps of the first and the last copy that left, and how many
// did.
func (o *order) sent() (first, last time.Duration, n int) {
	for _, g := range o.receipt.Gaps {
		if g == wire.NotSent {
			continue
		}
		if n == 0 {
			first = g
		}
		last = g
		n++
	}
	return first, last, n
}

// orderBook keeps the orders whose fate is open.
type orderBook struct {
	e    *engine
	byID map[wire.ID]*order
	open []*order // that are to be asked about, by time of sending
}

func (b *orderBook) init(e *engine) {
	b.e = e
	b.byID = make(map[wire.ID]*order)
}

// place sends an order as the flow's last packet before its silence.
func (b *orderBook) place(owner orderOwner, f *flow, tokens []wire.Token, gap, spread time.Duration, copies int) *order {
	o := &order{
		id: wire.NewID(), flow: f, owner: owner, gap: gap, spread: spread, copies: copies, sentAt: b.e.now,
	}
	f.due = max(f.due, o.burstEnds())
	b.byID[o.id] = o
	b.open = append(b.open, o)
	b.e.send(f, wire.Order{
		ID: o.id, Session: b.e.control.session, Tokens: tokens,
		Delay: gap, Spread: spread, Copies: copies,
		Size: min(wire.OrderSize(copies, true, b.e.ipv6()), wire.MaxPayload),
	}.Encode())
	return o
}

// forget drops an order that nobody waits for. Where its flow came from is asked on:
// it matters to the next flow from there.
func (b *orderBook) forget(o *order) {
	switch {
	case o == nil || b.byID[o.id] != o:
	case o.arrived || o.flow.traced:
		b.drop(o)
	default:
		o.owner = nobody{}
	}
}

func (b *orderBook) drop(o *order) {
	delete(b.byID, o.id)
	b.settle(o)
}

// nobody owns the orders that were forgotten before they were heard of.
type nobody struct{}

func (nobody) orderLost()    {}
func (nobody) portReused()   {}
func (nobody) burstSettled() {}

// toAsk returns up to n orders that the next query should ask about.
func (b *orderBook) toAsk(n int) []wire.ID {
	var ids []wire.ID
	for _, o := range b.open {
		if len(ids) == n {
			break
		}
		if b.due(o) && b.e.now-o.asked >= max(askAgain, b.e.path.min) {
			o.asked = b.e.now
			ids = append(ids, o.id)
		}
	}
	return ids
}

// due reports whether there is news to expect of an order.
func (b *orderBook) due(o *order) bool {
	if !o.arrived {
		return b.e.now >= o.sentAt+askMargin/2
	}
	return b.e.now >= o.burstEnds()
}

// asking reports whether some order waits for news.
func (b *orderBook) asking() bool {
	for _, o := range b.open {
		if b.due(o) {
			return true
		}
	}
	return false
}

// receipt takes the reflector's account of an order, asked for by a query that
// left at the given time.
func (b *orderBook) receipt(r wire.Receipt, asked time.Duration) {
	o := b.byID[r.ID]
	if o == nil || o.receipt != nil {
		return
	}
	switch r.State {
	case wire.StateUnknown:
		if o.arrived || asked > o.sentAt+b.e.path.maxRTT(o.sentAt)+askMargin {
			if !o.arrived && o.opens() {
				b.e.pressure.opened(o.flow, false)
			}
			b.drop(o)
			b.e.untraced(o.flow)
			o.owner.orderLost()
		}
	case wire.StatePending:
		if !o.arrived && o.opens() {
			b.e.pressure.opened(o.flow, true)
		}
		if o.arrived = true; b.e.sawExternal(o.flow, r.From) {
			o.owner.portReused()
		}
	case wire.StateSent:
		if !o.arrived && o.opens() {
			b.e.pressure.opened(o.flow, true)
		}
		o.arrived = true
		o.receipt = &r
		b.settle(o)
		if b.e.sawExternal(o.flow, r.From) {
			o.owner.portReused()
		}
		o.owner.burstSettled()
	}
	if o.owner == (nobody{}) && o.arrived {
		b.drop(o)
	}
}

// settle stops asking; copies and beacons may still come.
func (b *orderBook) settle(o *order) {
	if i := slices.Index(b.open, o); i >= 0 {
		b.open = slices.Delete(b.open, i, i+1)
	}
}

func (b *orderBook) beacon(c wire.Copy) {
	if o := b.byID[c.ID]; o != nil {
		o.arrived = true
		if o.beacons&(1<<c.Index) == 0 {
			o.beacons |= 1 << c.Index
			o.beaconAt = b.e.now
		}
	}
}
