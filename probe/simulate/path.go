package simulate

import (
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

// send takes a packet from the client, or from a place outside. The caller holds
// n.mu, as for all functions in this file.
func (n *Network) send(p natmodel.Packet, fromClient bool) {
	f := flow{p.Src, p.Dst}
	id := mix(mix(n.cfg.Seed^f.hash()) + n.sent[f])
	n.sent[f]++
	n.stats.Sent++
	switch {
	case fromClient:
		n.schedule(n.cfg.Inside, atNATsOutbound, p, id)
	case n.servers[p.Dst.Addr()] != nil:
		n.cross(p, id, atServerAcross)
	default:
		n.cross(p, id, atNATsInbound)
	}
}

// cross sends a packet, and its copy if it gets one, over the outside.
func (n *Network) cross(p natmodel.Packet, id uint64, to place) {
	n.schedule(n.outsideDelay(id), to, p, id)
	if fraction(id, forDuplicate) < n.cfg.Duplicate {
		n.stats.Duplicated++
		id = mix(id ^ mix(forCopy))
		n.schedule(n.outsideDelay(id), to, p, id)
	}
}

func (n *Network) outsideDelay(id uint64) time.Duration {
	return n.cfg.Outside + time.Duration(fraction(id, forJitter)*float64(n.cfg.Jitter))
}

// step moves a packet on. n.mu is free for a moment while block and capture
// functions run.
func (n *Network) step(e *event) {
	switch e.place {
	case atNATsOutbound:
		n.outbound(e)
	case atNATsInbound:
		n.inbound(e)
	case atClient:
		n.deliver(n.client, e.p)
	case atServer:
		n.deliver(n.servers[e.p.Dst.Addr()], e.p)
	case atServerAcross:
		passed := !n.blocked(e.p)
		n.report(e.p, passed)
		if passed {
			n.deliver(n.servers[e.p.Dst.Addr()], e.p)
		}
	}
}

// outbound takes a packet through the NATs and the link to the outside.
func (n *Network) outbound(e *event) {
	if n.cfg.LossInside && n.lost(&n.lossOut, e.id) {
		return
	}
	p, ok := n.chain.Outbound(n.now(), e.p)
	if !ok {
		n.stats.Refused++
		return
	}
	passed := n.linkUp() && !n.blocked(p) && (n.cfg.LossInside || !n.lost(&n.lossOut, e.id))
	n.report(p, passed && n.servers[p.Dst.Addr()] != nil)
	if passed {
		n.cross(p, e.id, atServer)
	}
}

// inbound takes a packet over the link from the outside and through the NATs.
func (n *Network) inbound(e *event) {
	p, passed := n.comeIn(e)
	n.report(e.p, passed)
	if passed {
		n.schedule(n.cfg.Inside, atClient, p, e.id)
	}
}

// comeIn returns a packet as the client will see it, and whether it will.
func (n *Network) comeIn(e *event) (natmodel.Packet, bool) {
	if !n.linkUp() || n.blocked(e.p) || (!n.cfg.LossInside && n.lost(&n.lossIn, e.id)) {
		return natmodel.Packet{}, false
	}
	p, ok := n.chain.Inbound(n.now(), e.p)
	if !ok {
		n.stats.Refused++
		return natmodel.Packet{}, false
	}
	if p.Dst.Addr() != n.client.addr {
		n.stats.Unclaimed++
		return natmodel.Packet{}, false
	}
	if n.cfg.LossInside && n.lost(&n.lossIn, e.id) {
		return natmodel.Packet{}, false
	}
	return p, true
}

// deliver puts a packet into the socket that it is for, if there is one.
func (n *Network) deliver(h *Host, p natmodel.Packet) {
	var c *conn
	if h != nil {
		c = h.conns[p.Dst.Port()]
	}
	switch {
	case c == nil:
		n.stats.Unclaimed++
	case c.put(datagram{from: p.Src, payload: p.Payload}, n.cfg.Queue):
		n.stats.Delivered++
	default:
		n.stats.Overflowed++
	}
}

// lost draws whether a packet is lost, and counts it.
func (n *Network) lost(l *loss, id uint64) bool {
	if !l.takes(n.now(), id) {
		return false
	}
	n.stats.Lost++
	return true
}

// linkUp says whether there is no outage, and counts a packet lost in one.
func (n *Network) linkUp() bool {
	if n.now() >= n.downTill {
		return true
	}
	n.stats.Down++
	return false
}

// blocked asks the block function, and counts what it blocks.
func (n *Network) blocked(p natmodel.Packet) bool {
	block := n.block
	if block == nil {
		return false
	}
	blocked := false
	n.unlocked(func() { blocked = block(p) })
	if blocked {
		n.stats.Blocked++
	}
	return blocked
}

// report shows a packet to the capture function.
func (n *Network) report(p natmodel.Packet, delivered bool) {
	if capture := n.capture; capture != nil {
		at := time.Now()
		n.unlocked(func() { capture(at, p, delivered) })
	}
}

// unlocked runs a function of the user's, which may call the network's methods.
// The lock is taken again even if the function never returns.
func (n *Network) unlocked(f func()) {
	n.mu.Unlock()
	defer n.mu.Lock()
	f()
}
