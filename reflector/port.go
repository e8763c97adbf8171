package reflector

import (
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/natprobe/natprobe/reflector/wire"
)

// port is a socket that is served. The core names it in what it returns, and
// neither reads nor writes.
type port struct {
	conn      net.PacketConn
	transport transport
	due       schedule // of the orders that arrived here; made when it is served
	alarm     alarm    // likewise
	shut      bool

	bound      netip.AddrPort    // as the socket tells it
	public     [2]netip.AddrPort // as clients see it, by their family; invalid: as they contacted it
	alternates [4]*port          // by Change, where RFC 5780 is served; itself is the first
	tally      tally
}

// newPort returns the port of a socket. Clients of a family see it at the
// address of that family in advertised, else at the one that it is bound to.
func newPort(conn net.PacketConn, advertised ...netip.Addr) *port {
	p := &port{conn: conn, transport: newTransport(conn), bound: addrPort(conn.LocalAddr())}
	if addr := p.bound.Addr(); addr.IsValid() && !addr.IsUnspecified() {
		p.public[family(addr)] = p.bound
	}
	if !p.bound.IsValid() {
		return p
	}
	for _, addr := range advertised {
		addr = addr.Unmap()
		p.public[family(addr)] = netip.AddrPortFrom(addr, p.bound.Port())
	}
	return p
}

// origin returns from where a client sees the answer to a request leave by p
// (RESPONSE-ORIGIN, RFC 5780 section 7.3); invalid where that is unknown.
func (p *port) origin(request *way) netip.AddrPort {
	if public := p.public[family(request.peer.Addr())]; public.IsValid() {
		return public
	}
	return netip.AddrPortFrom(request.local, p.bound.Port())
}

// discovers says whether the port is one of an RFC 5780 server's.
func (p *port) discovers() bool { return p.alternates[0] != nil }

// answerFrom returns the port that an answer leaves by.
func (p *port) answerFrom(c wire.Change) *port {
	if !p.discovers() {
		return p
	}
	return p.alternates[c]
}

// tally counts what a port does with plain STUN, and the bytes of everything.
// Its port's reader adds to it, without a lock, a batch at a time.
type tally struct {
	foreign, answered, limited, unpaid atomic.Uint64
	badRequest, unknownAttribute       atomic.Uint64
	writeErrors                        atomic.Uint64
	bytesIn, bytesOut, packetsOut      atomic.Uint64
}

// count is a batch's share of a tally.
type count struct {
	foreign                      uint64
	answered                     uint64 // plain requests, as all below
	limited                      uint64 // above the rate of their network
	unpaid                       uint64 // the answer would have been too large
	badRequest, unknownAttribute uint64
	bytesIn                      uint64
}

func (t *tally) add(c *count) {
	for _, n := range []struct {
		to    *atomic.Uint64
		value uint64
	}{
		{&t.foreign, c.foreign}, {&t.answered, c.answered}, {&t.limited, c.limited}, {&t.unpaid, c.unpaid},
		{&t.badRequest, c.badRequest}, {&t.unknownAttribute, c.unknownAttribute}, {&t.bytesIn, c.bytesIn},
	} {
		if n.value != 0 {
			n.to.Add(n.value)
		}
	}
	*c = count{}
}

// addTo adds what was counted to a snapshot.
func (t *tally) addTo(s *Stats) {
	limited, unpaid := t.limited.Load(), t.unpaid.Load()
	badRequest, unknownAttribute := t.badRequest.Load(), t.unknownAttribute.Load()
	s.Foreign += t.foreign.Load()
	s.PlainAnswered += t.answered.Load()
	s.PlainRefused += badRequest + unknownAttribute
	s.PlainLimited += limited
	s.PlainSilent += limited + unpaid
	s.Silent += limited + unpaid
	s.WriteErrors += t.writeErrors.Load()
	s.BytesIn += t.bytesIn.Load()
	s.BytesOut += t.bytesOut.Load()
	s.PacketsOut += t.packetsOut.Load()
	for code, n := range map[wire.Code]uint64{wire.CodeBadRequest: badRequest, wire.CodeUnknownAttribute: unknownAttribute} {
		if n != 0 {
			s.Refused[code] += n
		}
	}
}

// dropped returns how many datagrams the system has dropped at p, where it tells.
func (p *port) dropped() uint64 {
	if t, ok := p.transport.(interface{ dropped() uint64 }); ok {
		return t.dropped()
	}
	return 0
}

// addTo adds what p has counted to a snapshot.
func (p *port) addTo(s *Stats) {
	p.tally.addTo(s)
	s.Dropped += p.dropped()
}

// send sends packets through p and counts them.
func (p *port) send(packets []packet) {
	if len(packets) == 0 {
		return
	}
	p.transport.send(packets)
	bytes, sent := uint64(0), uint64(0)
	for i := range packets {
		if packets[i].failed {
			continue
		}
		sent++
		bytes += uint64(wire.IPBytes(packets[i].peer.Addr(), len(packets[i].data))) //nolint:gosec // a datagram's size
	}
	p.tally.bytesOut.Add(bytes)
	p.tally.packetsOut.Add(sent)
}
