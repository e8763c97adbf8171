package reflector

import (
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// maxLateness is how late a copy may leave. After a longer stall of the process
// everything that was due would leave at once, whatever the slots say.
const maxLateness = time.Second

// departBatch is how many copies leave at a time. Their gaps are measured just
// before that, and the last of them is on its way some 50 µs later.
const departBatch = 16

// departure is a copy that is due now.
type departure struct {
	ref     ref
	way     way
	arrived time.Duration
	due     time.Duration
	copy    wire.Copy // but for its gap
	left    bool      // it was sent
}

// depart takes the next copy that is due out of p's schedule. The caller sends
// it and reports to departed.
func (c *core) depart(now time.Time, p *port) (departure, bool) {
	c.expire(now)
	at := c.since(now)
	for {
		r := p.due.popDue(at)
		if r == 0 {
			return departure{}, false
		}
		o := c.book.at(r)
		if at-o.due() <= maxLateness {
			_, w := c.book.way(r)
			return departure{
				ref: r, way: w, arrived: o.at, due: o.due(),
				copy: wire.Copy{ID: o.id, Index: int(o.left), Of: int(o.copies)},
			}, true
		}
		c.left(r, at, wire.NotSent)
	}
}

// beacon is what goes to a control flow, and the port that it leaves by.
type beacon struct {
	port *port
	way  way
	copy wire.Copy
}

// departed records that a copy left at its gap, or that it could not, and
// returns its beacon where credit pays for one.
func (c *core) departed(now time.Time, d *departure) (b beacon, ok bool) {
	at := c.since(now)
	gap := d.copy.Gap
	if !d.left {
		gap = wire.NotSent
	} else {
		c.lateness.observe(at - d.due)
	}
	s, epoch := c.sessionOf(d.ref), c.book.at(d.ref).epoch
	c.left(d.ref, at, gap)
	if gap == wire.NotSent {
		return beacon{}, false
	}
	cost := wire.IPBytes(s.control.peer.Addr(), wire.CopySize)
	if s.port.shut || s.credit < cost || !c.beaconSlot(at, s, epoch) {
		c.stats.BeaconsUnpaid++
		return beacon{}, false
	}
	s.earn(-cost)
	c.stats.Beacons++
	return beacon{port: s.port, way: s.control, copy: d.copy}, true
}

// beaconSlot says whether a beacon may leave. Its slot was taken at admission,
// unless the control flow has another address now.
func (c *core) beaconSlot(now time.Duration, s *session, epoch uint32) bool {
	if s.epoch == epoch {
		return true
	}
	addr := s.control.peer.Addr()
	_, ok := c.slots.reserve([]claim{
		{group: address(addr), due: now, count: 1, limit: c.limits.SlotAddress},
		{group: network(addr), due: now, count: 1, limit: c.limits.SlotPrefix},
	})
	return ok
}

// left records a copy and schedules the next one, if any.
func (c *core) left(r ref, now, gap time.Duration) {
	if gap == wire.NotSent {
		c.stats.CopiesFailed++
	} else {
		c.stats.Copies++
	}
	o := c.book.at(r)
	o.note(gap)
	p := c.book.paths[o.through].port
	if o.left < o.copies {
		if !p.shut {
			p.due.push(now, r)
		}
		return
	}
	s := c.sessionOf(r)
	o.at = now
	c.book.finish(r)
	c.book.pending--
	s.pending--
	c.count(o.peer().Addr(), -1)
	c.sessions.touch(s, now)
}

// shut drops what is due at a port that is about to be gone, and says how many
// bursts that were.
func (c *core) shut(now time.Time, p *port) (dropped int) {
	p.shut = true
	at := c.since(now)
	p.due.drain(func(r ref) {
		for o := c.book.at(r); o.left < o.copies; {
			c.left(r, at, wire.NotSent)
		}
		dropped++
	})
	return dropped
}
