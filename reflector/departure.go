package reflector

import (
	"math"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// maxLateness is how late a copy may leave. After a longer stall of the process
// everything that was due would leave at once, whatever the slots say.
const maxLateness = time.Second

// departure is a copy that is due now.
type departure struct {
	order *order
	index int
}

// encode returns the copy for the moment at which it leaves.
func (d departure) encode(c *core, now time.Time) ([1]packet, time.Duration) {
	gap := c.since(now) - d.order.arrived
	burst := wire.Burst{Copy: wire.Copy{ID: d.order.id, Index: d.index, Of: d.order.copies, Gap: gap}}
	return [1]packet{{way: d.order.from, data: burst.Encode()}}, gap
}

// depart takes the next copy that is due out of p's schedule. The caller sends
// it and reports to departed before it asks for another.
func (c *core) depart(now time.Time, p *port) (departure, bool) {
	c.expire(now)
	at := c.since(now)
	for {
		o := p.due.popDue(at)
		if o == nil {
			return departure{}, false
		}
		if at-o.due <= maxLateness {
			return departure{order: o, index: o.next}, true
		}
		c.left(o, at, wire.NotSent)
	}
}

// departed records that a copy left after a gap, or with wire.NotSent that it
// could not, and returns its beacon, and the port that it leaves by, where credit
// pays for one.
func (c *core) departed(now time.Time, d departure, gap time.Duration) ([1]packet, *port, bool) {
	at := c.since(now)
	c.left(d.order, at, gap)
	if gap == wire.NotSent {
		return [1]packet{}, nil, false
	}
	s := d.order.session
	cost := wire.IPBytes(s.control.peer.Addr(), wire.CopySize)
	if s.port.shut || s.credit < cost || !c.beaconSlot(at, d.order) {
		c.stats.BeaconsUnpaid++
		return [1]packet{}, nil, false
	}
	s.earn(-cost)
	c.stats.Beacons++
	beacon := wire.Beacon{Copy: wire.Copy{ID: d.order.id, Index: d.index, Of: d.order.copies, Gap: gap}}
	return [1]packet{{way: s.control, data: beacon.Encode()}}, s.port, true
}

// beaconSlot says whether a beacon may leave. Its slot was taken at admission,
// unless the control flow has another address now.
func (c *core) beaconSlot(now time.Duration, o *order) bool {
	addr := o.session.control.peer.Addr()
	if addr == o.beacons {
		return true
	}
	_, ok := c.slots.reserve([]claim{
		{group: address(addr), due: now, count: 1, limit: c.limits.SlotAddress},
		{group: network(addr), due: now, count: 1, limit: c.limits.SlotPrefix},
	})
	return ok
}

// left records a copy and schedules the next one, if any.
func (c *core) left(o *order, now, gap time.Duration) {
	if gap == wire.NotSent {
		c.stats.CopiesFailed++
	} else {
		c.stats.Copies++
	}
	if o.gaps == nil {
		o.gaps = make([]time.Duration, 0, o.copies)
	}
	o.gaps = append(o.gaps, gap)
	if o.next++; o.next < o.copies {
		o.due = o.departure(o.next)
		if !o.port.shut {
			o.port.due.push(o)
		}
		return
	}
	o.due = now
	o.session.pending--
	release(c.pending, o.from.peer.Addr())
	c.stats.Pending--
	c.sessions.touch(o.session, now)
	c.done = append(c.done, o)
}

// shut drops what is due at a port that is about to be gone, and says how many
// bursts that were.
func (c *core) shut(now time.Time, p *port) (dropped int) {
	p.shut = true
	at := c.since(now)
	for o := p.due.popDue(math.MaxInt64); o != nil; o = p.due.popDue(math.MaxInt64) {
		for o.next < o.copies {
			c.left(o, at, wire.NotSent)
		}
		dropped++
	}
	return dropped
}
