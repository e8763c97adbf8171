package reflector

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// host is an address of the hostile network: an honest prober's, or a victim's,
// which only ever appears as a forged source.
type host struct {
	addr     netip.Addr
	victim   bool
	tokens   []wire.Token // all it was ever given
	session  wire.SessionID
	seq      uint32
	orders   []wire.ID
	balance  int // IP bytes of natprobe messages in, less those out
	requests int // plain and natprobe
	answers  int
}

// hostile plays random traffic, much of it forged, against a reflector, and
// keeps the books for each address.
type hostile struct {
	t      *testing.T
	g      *rig
	random *rand.Rand
	hosts  map[netip.Addr]*host
	order  []*host
	sent   [][]byte // everything so far, to be replayed
}

func newHostile(t *testing.T, seed uint64) *hostile {
	h := &hostile{t: t, g: newRig(t, Config{}, serverA), random: rand.New(rand.NewPCG(seed, 7)), hosts: make(map[netip.Addr]*host)}
	for i, addr := range []string{
		"198.51.100.1", "198.51.100.2", "203.0.113.3", "2001:db8:1:1::1", "2001:db8:2:1::1",
		"198.51.100.66", "192.0.2.66", "2001:db8:1:66::66",
	} {
		a := netip.MustParseAddr(addr)
		h.hosts[a] = &host{addr: a, victim: i >= 5, session: wire.NewSessionID()}
		h.order = append(h.order, h.hosts[a])
	}
	return h
}

func (h *hostile) pick() *host { return h.order[h.random.IntN(len(h.order))] }

// send delivers a datagram in the name of a host, and books what comes back.
func (h *hostile) send(from *host, payload []byte) {
	source := netip.AddrPortFrom(from.addr, uint16(40000+h.random.IntN(5)))
	request, err := wire.ParseRequest(payload)
	_, plain := request.(wire.Binding)
	plain = plain && err == nil
	size := wire.IPBytes(from.addr, len(payload))
	if !plain {
		from.balance += size
	}
	from.requests++
	h.sent = append(h.sent, payload)
	h.g.conns[0].put(source, bytes.Clone(payload))
	for _, p := range h.g.take(0) {
		if !plain {
			h.book(p)
			if out := wire.IPBytes(from.addr, len(p.payload)); isAnswer(p) && (p.peer != source || out > size) {
				h.t.Fatalf("%d bytes from %v: %d bytes to %v", size, source, out, p.peer)
			}
			continue
		}
		from.answers++
		if out := wire.IPBytes(from.addr, len(p.payload)); p.peer != source || 2*out > 5*size {
			h.t.Fatalf("plain STUN of %d bytes from %v: %d bytes to %v", size, source, out, p.peer)
		}
	}
}

// isAnswer says whether a packet is no indication.
func isAnswer(p memPacket) bool { return p.payload[0]&1 != 0 }

// book takes a natprobe message that the reflector sent.
func (h *hostile) book(p memPacket) {
	to := h.hosts[p.peer.Addr()]
	if to == nil {
		h.t.Fatalf("a packet left to %v, who never sent one", p.peer)
	}
	to.balance -= wire.IPBytes(to.addr, len(p.payload))
	if to.balance < 0 {
		h.t.Fatalf("%v has been sent %d bytes more than it sent, the last %#v", to.addr, -to.balance, parse(h.t, p.payload))
	}
	switch r := parse(h.t, p.payload).(type) {
	case wire.Burst, wire.Beacon:
		if to.victim {
			h.t.Fatalf("%v, in whose name packets were forged, was sent %#v", to.addr, r)
		}
		return
	case wire.HelloReply:
		to.receive(r.Token)
	case wire.QueryReply:
		to.receive(r.Token)
	case wire.Refusal:
		to.receive(r.Token)
	}
	if to.answers++; to.answers > to.requests {
		h.t.Fatalf("%v got %d answers to %d requests", to.addr, to.answers, to.requests)
	}
}

// receive keeps a token, if the packet reaches someone who asked for it.
func (o *host) receive(t wire.Token) {
	if !o.victim && t != (wire.Token{}) {
		o.tokens = append(o.tokens, t)
	}
}

// token returns one that from may have, more often good than not: its newest,
// an old one, or any other's.
func (h *hostile) token(from *host) (t wire.Token) {
	owner := from
	if h.random.IntN(5) == 0 {
		owner = h.pick()
	}
	switch n := len(owner.tokens); {
	case n == 0 || h.random.IntN(20) == 0:
		t[0] = byte(h.random.Uint32())
	case h.random.IntN(5) == 0:
		t = owner.tokens[h.random.IntN(n)]
	default:
		t = owner.tokens[n-1]
	}
	return t
}

// datagram makes a packet that a host might send.
func (h *hostile) datagram(from *host) []byte {
	switch h.random.IntN(12) {
	case 0:
		return wire.Hello{ID: wire.NewID()}.Encode()
	case 1:
		return wire.Check{ID: wire.NewID()}.Encode()
	case 2:
		return wire.Beacon{Copy: wire.Copy{ID: wire.NewID(), Of: 1}}.Encode()
	case 3:
		return wire.Binding{ID: wire.NewID()}.Encode()
	case 4, 5, 6:
		from.seq++
		q := wire.Query{ID: wire.NewID(), Session: from.session, Token: h.token(from), Seq: from.seq, Size: h.random.IntN(wire.MaxPayload)}
		for range min(len(from.orders), h.random.IntN(5)) {
			q.Orders = append(q.Orders, from.orders[h.random.IntN(len(from.orders))])
		}
		return q.Encode()
	case 7, 8, 9:
		o := wire.Order{
			ID: wire.NewID(), Session: from.session, Copies: h.random.IntN(wire.MaxCopies + 1),
			Delay: time.Duration(h.random.IntN(30_000)) * time.Millisecond, Spread: time.Duration(h.random.IntN(1000)) * time.Millisecond,
			Size: h.random.IntN(wire.MaxPayload),
		}
		for range 1 + h.random.IntN(wire.MaxTokens) {
			o.Tokens = append(o.Tokens, h.token(from))
		}
		from.orders = append(from.orders, o.ID)
		return o.Encode()
	case 10: // damaged, cut short or with something behind it
		if len(h.sent) > 0 {
			b := bytes.Clone(h.sent[h.random.IntN(len(h.sent))])
			if len(b) > 0 {
				b[h.random.IntN(len(b))] ^= byte(1 << h.random.IntN(8))
			}
			return append(b[:h.random.IntN(len(b)+1)], make([]byte, h.random.IntN(8))...)
		}
	case 11: // replayed, in whoever's name
		if len(h.sent) > 0 {
			return h.sent[h.random.IntN(len(h.sent))]
		}
	}
	return nil
}

// undersized takes a request's padding away, so that it can't pay.
func undersized(t *testing.T, b []byte) []byte {
	t.Helper()
	const padding = 0xC0FC
	at := bytes.LastIndex(b, []byte{padding >> 8, padding & 0xFF})
	if at < 20 {
		return b
	}
	b = bytes.Clone(b[:at])
	b[2], b[3] = byte((at-20)>>8), byte(at-20)
	return b
}

// TestInvariants: whatever arrives, no address gets more bytes of natprobe
// messages than were sent in its name, at any moment; nobody gets anything
// later than at once without having proven that it receives; and plain STUN is
// answered with one packet of at most 2.5 times the bytes.
func TestInvariants(t *testing.T) {
	seeds, steps := uint64(12), 1500
	if testing.Short() {
		seeds = 3
	}
	var reached Stats
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHostile(t, seed)
				for range steps {
					from := h.pick()
					b := h.datagram(from)
					if h.random.IntN(8) == 0 {
						b = undersized(t, b)
					}
					if h.random.IntN(6) == 0 {
						from = h.pick() // forged
					}
					h.send(from, b)
					after(time.Duration(h.random.ExpFloat64() * float64(time.Second/2)))
					for _, p := range h.g.take(0) {
						h.book(p)
					}
				}
				after(time.Minute)
				for _, p := range h.g.take(0) {
					h.book(p)
				}
				s := h.g.reflector.Stats()
				if s.Pending != 0 {
					t.Errorf("%d orders pending after all were due", s.Pending)
				}
				reached.Accepted += s.Accepted
				reached.Duplicates += s.Duplicates
				reached.Copies += s.Copies
				reached.Beacons += s.Beacons
				reached.BeaconsUnpaid += s.BeaconsUnpaid
				reached.Silent += s.Silent
				reached.Malformed += s.Malformed
				reached.Refused = s.Refused
			})
		})
	}
	r := reached
	for name, n := range map[string]uint64{
		"accepted": r.Accepted, "duplicates": r.Duplicates, "copies": r.Copies, "beacons": r.Beacons, "unpaid beacons": r.BeaconsUnpaid,
		"silent": r.Silent, "malformed": r.Malformed, "bad request": r.Refused[wire.CodeBadRequest],
		"unknown session": r.Refused[wire.CodeUnknownSession], "stale token": r.Refused[wire.CodeStaleToken],
	} {
		if n == 0 {
			t.Errorf("the traffic never led to: %s", name)
		}
	}
}

// TestPulse: orders placed over ten minutes and due at one moment are refused
// beyond what an address and a network may be sent in any second.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		var clients []*client
		for i := range byte(8) {
			clients = append(clients, g.client(0, sender(9, i+1, 40000)))
		}
		pulse := time.Now().Add(10 * time.Minute)
		refused := 0
		for n := range 800 {
			c := clients[n%len(clients)]
			o := c.order(time.Until(pulse).Truncate(time.Millisecond), 3)
			if n%100 < len(clients) {
				c.token = c.query().Token
				o.Tokens = []wire.Token{c.token}
			}
			switch r := g.ask(0, c.addr, o.Encode()).(type) {
			case nil:
			case wire.Refusal:
				if r.Limit != wire.LimitSlot {
					t.Fatalf("refused with %+v", r)
				}
				refused++
			}
			after(700 * time.Millisecond)
		}
		after(2 * time.Minute)
		counts := make(map[group][]time.Time)
		packets := g.take(0)
		for _, p := range packets {
			counts[address(p.peer.Addr())] = append(counts[address(p.peer.Addr())], p.at)
			counts[network(p.peer.Addr())] = append(counts[network(p.peer.Addr())], p.at)
		}
		for who, times := range counts {
			limit := DefaultSlotAddress
			if who.width == oneNetwork {
				limit = DefaultSlotPrefix
			}
			if n := busiest(times); n > limit {
				t.Errorf("%d packets within a second to %v, want at most %d", n, who, limit)
			}
		}
		if refused == 0 || len(packets) < DefaultSlotPrefix/2 {
			t.Errorf("%d orders refused and %d packets left: no pulse was tried", refused, len(packets))
		}
	})
}

// busiest returns the most packets in any one second.
func busiest(times []time.Time) (most int) {
	slices.SortFunc(times, time.Time.Compare)
	for i, start := range times {
		n := 0
		for _, at := range times[i:] {
			if at.Sub(start) >= time.Second {
				break
			}
			n++
		}
		most = max(most, n)
	}
	return most
}

// TestAddressPool: behind a pool of addresses, flows' orders pay for beacons to
// the control flow's address; together no more goes out than came in.
func TestAddressPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		paid, used := 0, 0
		for i := range byte(20) {
			from := sender(4, i+1, 5000)
			o := c.order(5*time.Second, 5)
			o.Tokens = []wire.Token{c.token, g.token(0, from)}
			b := o.Encode()
			paid += wire.IPBytes(from.Addr(), len(b))
			if r := g.ask(0, from, b); r != nil {
				t.Fatalf("order answered with %#v", r)
			}
			after(200 * time.Millisecond)
		}
		after(10 * time.Second)
		packets := g.take(0)
		for _, p := range packets {
			used += wire.IPBytes(p.peer.Addr(), len(p.payload))
		}
		if bursts, beacons := sentTo(t, packets); len(bursts) != 100 || len(beacons) != 100 || used > paid {
			t.Errorf("%d copies and %d beacons left, %d bytes for %d", len(bursts), len(beacons), used, paid)
		}
	})
}

// TestPlain: plain STUN is answered once, in RFC 8489's form, metered by prefix.
func TestPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{PPS: 5}}, serverA)
		six := netip.MustParseAddrPort("[2001:db8:1:2::3]:40000")
		request := wire.Binding{ID: wire.NewID()}.Encode()
		answers := func(from netip.AddrPort, b []byte) (n int) {
			g.conns[0].put(from, b)
			for _, p := range g.take(0) {
				if _, ok := parse(t, p.payload).(wire.BindingReply); !ok || p.peer != from {
					t.Errorf("%#v to %v", parse(t, p.payload), p.peer)
				}
				n++
			}
			return n
		}
		for _, from := range []netip.AddrPort{home, six} {
			total := 0
			for i := range 100 { // from all over the network
				if from == home {
					from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 1)
				}
				total += answers(from, request)
			}
			if total != 5*networkRate {
				t.Errorf("%d answers to %v's network, want %d", total, from, 5*networkRate)
			}
		}
		if s := g.reflector.Stats(); s.Plain != 200 || s.Silent != 200-2*5*networkRate {
			t.Errorf("%d plain requests, %d unanswered", s.Plain, s.Silent)
		}

		// An attribute that must be understood and isn't: 420, also within 2.5.
		after(time.Minute)
		b := append(bytes.Clone(request), 0, 3, 0, 4, 0, 0, 0, 6)
		b[3] = 8
		g.conns[0].put(home, b)
		packets := g.take(0)
		if len(packets) != 1 {
			t.Fatalf("%d answers, want a 420", len(packets))
		}
		r, ok := parse(t, packets[0].payload).(wire.Refusal)
		if !ok || r.Code != wire.CodeUnknownAttribute {
			t.Errorf("answered with %#v, want a 420", r)
		}
	})
}

// TestSilence: what is no request gets no answer.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		for name, b := range map[string][]byte{
			"an empty datagram":    {},
			"a WireGuard packet":   append([]byte{1, 0, 0, 0}, make([]byte, 144)...),
			"an RFC 3489 request":  make([]byte, 20),
			"a response":           wire.BindingReply{ID: wire.NewID(), Mapped: home}.Encode(),
			"a refusal":            wire.Refusal{ID: wire.NewID(), Code: wire.CodeQuota, Boot: wire.NewBootID()}.Encode(),
			"a burst":              wire.Burst{Copy: wire.Copy{Of: 1}}.Encode(),
			"a beacon":             wire.Beacon{Copy: wire.Copy{Of: 1}}.Encode(),
			"a hello without pay":  undersized(t, wire.Hello{ID: wire.NewID()}.Encode()),
			"malformed and small":  append([]byte{0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42}, append(make([]byte, 12), 0xC0, 0xF0, 0, 4, 9, 9, 9, 9)...),
			"64 KiB of nothing":    make([]byte, 65000),
			"a hello, but cut off": wire.Hello{ID: wire.NewID()}.Encode()[:100],
		} {
			if r := g.ask(0, home, b); r != nil {
				t.Errorf("%s was answered with %#v", name, r)
			}
		}
		if r := g.ask(0, netip.MustParseAddrPort("198.51.100.7:0"), wire.Hello{ID: wire.NewID()}.Encode()); r != nil {
			t.Errorf("port 0 was answered with %#v", r)
		}
		if s := g.reflector.Stats(); s.Received != 12 || s.Foreign != 10 || s.Malformed != 1 || s.Silent != 2 {
			t.Errorf("stats = %+v", s)
		}
		g.token(0, home) // and it still works
	})
}
