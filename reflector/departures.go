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
		switch wait := r.take(p, &d); {
		case len(d.batch) > 0:
			r.depart(p, &d)
		case wait != 0:
			p.alarm.wait(wait)
		}
	}
}

// tidyPeriod is how often what is old is forgotten where nothing else happens.
const tidyPeriod = 10 * time.Second

// take takes copies that are due. Where there are none it says how long to wait;
// 0: there is more to forget, negative: for ever.
func (r *Reflector) take(p *port, d *departing) (wait time.Duration) {
	d.batch, d.packets, d.memory, d.beacons = d.batch[:0], d.packets[:0], d.memory[:0], d.beacons[:0]
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(d.batch) < departBatch {
		departure, ok := r.core.depart(now, p)
		if !ok {
			break
		}
		d.batch = append(d.batch, departure)
	}
	switch {
	case r.core.idle():
		wait = -1
	case !r.core.expire(now):
		wait = tidyPeriod
	}
	at := r.core.since(now)
	if due, ok := p.due.next(at); ok && (wait < 0 || due-at < wait) {
		wait = max(due-at, 0)
	}
	return wait
}

// depart sends the copies that were taken, and their beacons.
func (r *Reflector) depart(p *port, d *departing) {
	now := time.Now() // as late as can be: the prober takes the gap as measured
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
