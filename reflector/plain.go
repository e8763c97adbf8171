package reflector

import (
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// plainRatio bounds the answer to a plain STUN request, in IP bytes out for IP
// bytes in. RFC 5780's longest answer over IPv6 without padding needs 2.41.
const plainRatio = 2.5

// answers collects what a batch of requests is answered with, in memory that
// the next batch uses again.
type answers struct {
	packets []packet // through the port that the requests came to
	memory  []byte
	count   count
}

// reset empties a. Packets of the batch before must have been sent.
func (a *answers) reset() { a.packets, a.memory = a.packets[:0], a.memory[:0] }

// plain answers a plain STUN request, or doesn't. It holds no lock and, as most
// of what a public server gets is plain, allocates nothing.
func (r *Reflector) plain(at time.Duration, p *port, in *packet, q *wire.Plain, a *answers) {
	addr := in.peer.Addr()
	if !r.plainMeter.allow(network(addr), at) {
		a.count.limited++
		return
	}
	most := int(plainRatio * float64(wire.IPBytes(addr, len(in.data))))
	if q.Changes && !p.discovers() { // RFC 5780 section 6.1: 420 whatever it asks for
		q.Reject(wire.AttrChangeRequest)
	}
	to, from, start, counter := in.way, p, len(a.memory), &a.count.answered
	switch unknown := q.Unknown(); {
	case len(unknown) > 0:
		counter = &a.count.unknownAttribute
		a.memory = wire.PlainError{ID: q.ID, Code: wire.CodeUnknownAttribute, Unknown: unknown, Fingerprint: q.Fingerprint}.Append(a.memory)
	case q.Bad:
		counter = &a.count.badRequest
		a.memory = wire.PlainError{ID: q.ID, Code: wire.CodeBadRequest, Fingerprint: q.Fingerprint}.Append(a.memory)
	default:
		from = p.answerFrom(q.Change)
		reply := wire.BindingReply{ID: q.ID, Mapped: in.peer, Pads: q.Pads, Padding: min(q.Padding, wire.MaxPlainPadding), Fingerprint: q.Fingerprint}
		reply.Origin = from.origin(&in.way) // RFC 5780 section 6.1: with one address too
		if p.discovers() {
			reply.Other = p.alternates[wire.ChangePort|wire.ChangeAddr].origin(&in.way)
		}
		a.memory = reply.Append(a.memory)
		if q.ResponsePort != 0 { // of the sender's own address, always
			to = way{peer: netip.AddrPortFrom(addr, q.ResponsePort), local: in.local}
		}
	}
	answer := packet{way: to, data: a.memory[start:]}
	if wire.IPBytes(addr, len(answer.data)) > most {
		a.count.unpaid++
		a.memory = a.memory[:start]
		return
	}
	*counter++
	if from == p {
		a.packets = append(a.packets, answer)
		return
	}
	other := [1]packet{answer}
	other[0].local = netip.Addr{}
	from.deliver(other[:])
}

// deliver sends answers and beacons. Where that fails the peer hears nothing, as
// if the network had lost it.
func (p *port) deliver(packets []packet) {
	p.send(packets)
	for i := range packets {
		if packets[i].failed {
			p.tally.writeErrors.Add(1)
		}
	}
}
