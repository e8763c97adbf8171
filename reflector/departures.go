package reflector

import (
	"context"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// departing is the memory of what sends a port's copies.
type departing struct {
	batch   []departure
	packets []packet
	memory  []byte
	beacons []beacon
}

// departures sends what is due at p until ctx is done and the alarm wakes it.
func (r *Reflector) departures(ctx context.Context, p *port) {
	if own, ok := p.alarm.(interface{ ownThread() }); ok {
		own.ownThread()
	}
	var d departing
	for ctx.Err() == nil {
		for r.departSome(p, &d) {
			if ctx.Err() != nil {
				return
			}
		}
		wait, ok := r.untilNext(p)
		if !ok {
			wait = -1
		} else if wait <= 0 {
			continue
		}
		p.alarm.wait(wait)
	}
}

// departSome sends copies that are due, and their beacons, and says whether
// there may be more.
func (r *Reflector) departSome(p *port, d *departing) (more bool) {
	d.batch, d.packets, d.memory, d.beacons = d.batch[:0], d.packets[:0], d.memory[:0], d.beacons[:0]
	r.mu.Lock()
	now := time.Now()
	for len(d.batch) < departBatch {
		departure, ok := r.core.depart(now, p)
		if !ok {
			break
		}
		d.batch = append(d.batch, departure)
	}
	r.mu.Unlock()
	if len(d.batch) == 0 {
		return false
	}

	now = time.Now() // as late as can be: the prober takes the gap as measured
	for i := range d.batch {
		copied := &d.batch[i]
		copied.copy.Gap = now.Sub(r.start) - copied.arrived
		start := len(d.memory)
		d.memory = wire.Burst{Copy: copied.copy}.Append(d.memory)
		d.packets = append(d.packets, packet{way: copied.way, data: d.memory[start:]})
	}
	p.send(d.packets)

	r.mu.Lock()
	for i := range d.batch {
		d.batch[i].left = !d.packets[i].failed
		if b, ok := r.core.departed(now, &d.batch[i]); ok {
			d.beacons = append(d.beacons, b)
		}
	}
	r.mu.Unlock()
	d.sendBeacons()
	return len(d.batch) == departBatch || p.hasDue(r)
}

// sendBeacons sends the beacons, those of a port together.
func (d *departing) sendBeacons() {
	d.memory = d.memory[:0] // the copies have left
	for first := 0; first < len(d.beacons); {
		d.packets = d.packets[:0]
		port := d.beacons[first].port
		for ; first < len(d.beacons) && d.beacons[first].port == port; first++ {
			start := len(d.memory)
			d.memory = wire.Beacon{Copy: d.beacons[first].copy}.Append(d.memory)
			d.packets = append(d.packets, packet{way: d.beacons[first].way, data: d.memory[start:]})
		}
		port.deliver(d.packets)
	}
}

// hasDue says whether something is due at p.
func (p *port) hasDue(r *Reflector) bool {
	wait, ok := r.untilNext(p)
	return ok && wait <= 0
}

// untilNext returns how long to wait for what is due next at p.
func (r *Reflector) untilNext(p *port) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.core.since(time.Now())
	due, ok := p.due.next(now)
	return due - now, ok
}
