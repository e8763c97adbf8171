package reflector

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// anywhere returns a forged source: IPv4 or IPv6, of any network.
func anywhere(random *rand.Rand) netip.AddrPort {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], random.Uint64())
	binary.BigEndian.PutUint64(b[8:], random.Uint64())
	addr := netip.AddrFrom4([4]byte{11 + b[0]%100, b[1], b[2], b[3]})
	if random.IntN(2) == 0 {
		b[0], b[1] = 0x20, 0x01
		addr = netip.AddrFrom16(b)
	}
	return netip.AddrPortFrom(addr, 1+uint16(random.IntN(60000)))
}

// TestSpoofedFlood floods the reflector from forged sources all over the
// Internet: it keeps nothing of them, sends less than the rules allow, and an
// honest prober among them is answered.
func TestSpoofedFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		random := rand.New(rand.NewPCG(1, 2))
		in, out, honest, answered := 0, 0, 0, 0
		for i := range 60_000 {
			from := anywhere(random)
			var b []byte
			switch random.IntN(4) {
			case 0:
				b = wire.Binding{ID: wire.NewID()}.Encode()
			case 1:
				b = wire.Hello{ID: wire.NewID()}.Encode()
			case 2:
				b = wire.Query{ID: wire.NewID(), Session: wire.NewSessionID(), Seq: 1}.Encode()
			case 3:
				b = wire.Order{ID: wire.NewID(), Session: wire.NewSessionID(), Tokens: make([]wire.Token, 4), Copies: 10, Size: 600}.Encode()
			}
			in += wire.IPBytes(from.Addr(), len(b))
			g.conns[0].put(from, b)
			if i%100 != 0 {
				continue
			}
			honest++
			g.conns[0].put(home, wire.Check{ID: wire.NewID()}.Encode())
			for _, p := range g.take(0) {
				if p.peer == home {
					answered++
					continue
				}
				out += wire.IPBytes(p.peer.Addr(), len(p.payload))
			}
			after(time.Millisecond) // 100,000 packets a second
		}
		after(time.Hour)
		if late := g.take(0); len(late) > 100 {
			t.Errorf("%d packets left later", len(late))
		}
		if honest != answered {
			t.Errorf("%d of %d honest requests were answered", answered, honest)
		}
		if out > in {
			t.Errorf("%d bytes brought %d", in, out)
		}
		core := g.reflector.core
		if n := len(core.sessions.byID) + len(core.book.chunks) + len(core.slots.counts) + len(core.slots.spare) + len(core.book.paths); n != 0 {
			t.Errorf("%d things are kept for forged sources", n)
		}
	})
}

// TestTokenGuessing: with guessed tokens, or another's, or damaged ones, nothing
// is ever ordered.
func TestTokenGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		attacker := g.client(0, home)
		random := rand.New(rand.NewPCG(1, 2))
		victim := netip.MustParseAddrPort("198.51.100.8:40000") // a neighbour in the same /24
		for i := range 5000 {
			o := attacker.order(time.Second, 3)
			switch i % 3 {
			case 0: // the attacker's own stays
			case 1:
				o.Tokens[0][4+random.IntN(16)] ^= byte(1 << random.IntN(8))
			case 2:
				binary.BigEndian.PutUint64(o.Tokens[0][8:], random.Uint64())
			}
			if r := g.refused(0, victim, o.Encode()); r.Code != wire.CodeStaleToken && r.Limit != wire.LimitRate {
				t.Fatalf("order %d was refused with %+v", i, r)
			}
			after(4 * time.Millisecond)
		}
		after(time.Minute)
		if packets := g.take(0); len(packets) != 0 {
			t.Errorf("%d packets left later", len(packets))
		}
	})
}

// TestReplayElsewhere: what was recorded on the way of an honest prober orders
// nothing for another address, and nothing more for its own.
func TestReplayElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		o := c.place(flow, c.order(10*time.Second, 2))
		victim := netip.MustParseAddrPort("203.0.113.9:53")
		for range 20 {
			g.conns[0].put(victim, o.Encode())
			g.conns[0].put(flow, o.Encode())
			after(time.Second)
		}
		toFlow := 0
		for _, p := range g.take(0) {
			switch p.peer {
			case flow:
				toFlow++
			case victim:
				t.Errorf("%#v went to an address that proved nothing", parse(t, p.payload))
			}
		}
		if toFlow != 2 {
			t.Errorf("%d copies went to the prober, want the 2 that it ordered", toFlow)
		}
	})
}

// TestOrderFlood: attackers who have proven their addresses in some dozens of
// networks fill what they can, and an honest prober still gets its orders in.
func TestOrderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room, wanted = 20_000, 100
		g := newRig(t, Config{Limits: Limits{Orders: room, Sessions: 500, SlotAddress: Unlimited, SlotPrefix: Unlimited, PPS: Unlimited}}, serverA)
		refused, networks := 0, 40
		for n := range networks {
			c := g.client(0, sender(byte(n), 1, 40000))
			for range DefaultPending {
				o := c.order(9*time.Minute, 1)
				if g.ask(0, c.addr, o.Encode()) != nil {
					refused++
					break
				}
			}
		}
		s := g.reflector.Stats()
		t.Logf("%d networks hold %d of %d orders", networks, s.Pending, room)
		if refused == 0 || s.Pending < room/2 {
			t.Fatalf("%d orders pending, %d networks refused: that is no flood", s.Pending, refused)
		}
		c := g.client(0, home)
		accepted := 0
		for range wanted {
			if o := c.order(5*time.Second, 3); g.ask(0, flow, o.Encode()) == nil {
				accepted++
			}
		}
		if accepted != wanted {
			t.Errorf("%d of %d honest orders were accepted", accepted, wanted)
		}
		if got := g.reflector.Stats().RefusedLimit[wire.LimitMemory]; got == 0 {
			t.Error("nobody was refused for want of memory")
		}
	})
}

// TestSessionFlood is TestOrderFlood for sessions.
func TestSessionFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 400
		g := newRig(t, Config{Limits: Limits{Sessions: room, PPS: Unlimited}}, serverA)
		for n := range byte(30) {
			from := sender(n, 1, 40000)
			q := wire.Query{Token: g.token(0, from), Seq: 1}
			for range sessionsPerAddress {
				q.ID, q.Session = wire.NewID(), wire.NewSessionID()
				g.ask(0, from, q.Encode())
			}
		}
		held := g.reflector.Stats().Sessions
		t.Logf("30 networks hold %d of %d sessions", held, room)
		if held < room/2 || held == room {
			t.Errorf("%d sessions are held", held)
		}
		g.client(0, home) // fails the test where it gets none
	})
}
