package reflector

import (
	"math"
	"net"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// maxLateness is how late a copy may leave. After a longer stall of the process
// everything that was due would leave at once, whatever the slots say.
const maxLateness = time.Second

// datagram is a packet to send.
type datagram struct {
	conn    net.PacketConn
	addr    net.Addr
	payload []byte
}

// departure is a copy that is due now.
type departure struct {
	order *order
	index int
}

// encode returns the copy for the moment at which it leaves.
func (d departure) encode(c *core, now time.Time) (datagram, time.Duration) {
	gap := c.since(now) - d.order.arrived
	burst := wire.Burst{Copy: wire.Copy{ID: d.order.id, Index: d.index, Of: d.order.copies, Gap: gap}}
	return datagram{conn: d.order.port.conn, addr: d.order.addr, payload: burst.Encode()}, gap
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
// could not, and returns its beacon where credit pays for one.
func (c *core) departed(now time.Time, d departure, gap time.Duration) (datagram, bool) {
	at := c.since(now)
	c.left(d.order, at, gap)
	if gap == wire.NotSent {
		return datagram{}, false
	}
	s := d.order.session
	cost := wire.IPBytes(s.control.Addr(), wire.CopySize)
	if s.port.shut || s.credit < cost || !c.beaconSlot(at, d.order) {
		c.stats.BeaconsUnpaid++
		return datagram{}, false
	}
	s.earn(-cost)
	c.stats.Beacons++
	beacon := wire.Beacon{Copy: wire.Copy{ID: d.order.id, Index: d.index, Of: d.order.copies, Gap: gap}}
	return datagram{conn: s.port.conn, addr: s.addr, payload: beacon.Encode()}, true
}

// beaconSlot says whether a beacon may leave. Its slot was taken at admission,
// unless the control flow has another address now.
func (c *core) beaconSlot(now time.Duration, o *order) bool {
	addr := o.session.control.Addr()
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
	release(c.pending, o.from.Addr())
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
