package reflector

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
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
		toFlow, refused := 0, 0
		for _, p := range g.take(0) {
			switch p.peer {
			case flow:
				toFlow++
			case victim:
				if r, ok := parse(t, p.payload).(wire.Refusal); !ok || len(p.payload) > len(o.Encode()) {
					t.Errorf("%#v went to an address that proved nothing", r)
				}
				refused++
			}
		}
		if toFlow != 2 {
			t.Errorf("%d copies went to the prober, want the 2 that it ordered", toFlow)
		}
		if refused != 20 {
			t.Errorf("%d of 20 replays were refused at once", refused)
		}
	})
}

// crowd returns addresses of attackers in so many regions, with so many networks
// each.
func crowd(regions, networks int, ipv6 bool) (all []netip.AddrPort) {
	for r := range regions {
		for n := range networks {
			addr := netip.AddrFrom4([4]byte{11, byte(r), byte(n), 1})
			if ipv6 {
				addr = netip.AddrFrom16([16]byte{0: 0x2a, 1: 0x10, 3: byte(r), 4: byte(n >> 8), 5: byte(n), 15: 1})
			}
			all = append(all, netip.AddrPortFrom(addr, 40000))
		}
	}
	return all
}

// floods are attackers who have proven their addresses, and what they may leave of a
// table, as a share of it, to those who come later.
var floods = []struct {
	name    string
	from    []netip.AddrPort
	atLeast float64
}{
	{"forty networks", crowd(40, 1, false), 0.2},
	{"one IPv4 /16", crowd(1, 200, false), 0.75},
	{"one IPv6 /32", crowd(1, 300, true), 0.75},
	{"all of IPv6", crowd(24, 60, true), 0.24},
}

// honest are those who come later.
var honest = []netip.AddrPort{home, netip.MustParseAddrPort("198.51.101.9:40000")}

// TestOrderFlood: attackers who have proven their addresses fill what they can,
// with orders that are due in minutes, or that have left and are remembered. Honest
// probers still get theirs in.
func TestOrderFlood(t *testing.T) {
	const room, wanted = 20_000, 100
	for _, f := range floods {
		for _, delay := range []time.Duration{9 * time.Minute, 0} {
			t.Run(fmt.Sprintf("%s, orders of %v", f.name, delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newRig(t, Config{Limits: Limits{Orders: room, Sessions: room, SlotAddress: Unlimited, SlotPrefix: Unlimited, PPS: Unlimited}}, serverA)
					refused := 0
					for _, from := range f.from {
						c := g.client(0, from)
						for range DefaultPending {
							o := c.order(delay, 1)
							g.conns[0].put(from, o.Encode())
							if delay == 0 {
								after(time.Nanosecond) // it leaves
							}
							if slices.ContainsFunc(g.take(0), func(p memPacket) bool { return isAnswer(p) }) {
								refused++
								break
							}
						}
					}
					s := g.reflector.Stats()
					left := 1 - float64(s.Pending+s.Remembered)/room
					t.Logf("%.0f %% are left, %d of %d addresses were refused", 100*left, refused, len(f.from))
					if refused == 0 || left < f.atLeast || left > f.atLeast+0.15 {
						t.Errorf("%.3f are left, want %.2f to %.2f; %d refused", left, f.atLeast, f.atLeast+0.15, refused)
					}
					for _, from := range honest {
						c, accepted := g.client(0, from), 0
						for range wanted {
							if g.ask(0, from, c.order(5*time.Second, 3).Encode()) == nil {
								accepted++
							}
						}
						if accepted != wanted {
							t.Errorf("%d of %d honest orders from %v were accepted", accepted, wanted, from)
						}
					}
					if got := g.reflector.Stats().RefusedLimit[wire.LimitMemory]; got == 0 {
						t.Error("nobody was refused for want of memory")
					}
				})
			})
		}
	}
}

// TestSessionFlood is TestOrderFlood for sessions.
func TestSessionFlood(t *testing.T) {
	const room = 2000
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, Config{Limits: Limits{Sessions: room, PPS: Unlimited}}, serverA)
				g.fill(f.from)
				left := 1 - float64(g.reflector.Stats().Sessions)/room
				t.Logf("%.0f %% are left", 100*left)
				if left < f.atLeast || left > f.atLeast+0.15 {
					t.Errorf("%.3f are left, want %.2f to %.2f", left, f.atLeast, f.atLeast+0.15)
				}
				for _, from := range honest {
					g.client(0, from) // fails the test where it gets none
				}
			})
		})
	}
}

// fill makes as many sessions as each address may have.
func (g *rig) fill(from []netip.AddrPort) {
	g.t.Helper()
	for _, addr := range from {
		q := wire.Query{Token: g.token(0, addr), Seq: 1}
		for range sessionsPerAddress {
			q.ID, q.Session = wire.NewID(), wire.NewSessionID()
			if _, ok := g.ask(0, addr, q.Encode()).(wire.QueryReply); !ok {
				break
			}
		}
	}
}

// TestSessionsMakeRoom: where the table is full, sessions of which nothing was heard
// for a while go for new ones, and those that are alive stay.
func TestSessionsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 64
		g := newRig(t, Config{Limits: Limits{Sessions: room}}, serverA)
		alive := g.client(0, home)
		g.fill(append(crowd(100, 1, false), crowd(100, 1, true)...))
		if n := g.reflector.Stats().Sessions; n != room {
			t.Fatalf("%d sessions, want all %d", n, room)
		}
		newcomers := 0
		refused := func() bool { // one of a region of its own
			newcomers++
			late := netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(100 + newcomers), 0, 0, 77}), 40000)
			q := wire.Query{ID: wire.NewID(), Session: wire.NewSessionID(), Token: g.token(0, late), Seq: 1}
			r, is := g.ask(0, late, q.Encode()).(wire.Refusal)
			return is && r.Limit == wire.LimitSessions
		}
		if !refused() {
			t.Error("a full table took another session")
		}
		for range 2 * sessionQuiet / time.Second {
			after(time.Second)
			if got := alive.query(); got.Received != alive.seq {
				t.Fatalf("the reflector has seen %d of %d queries: it forgot the session", got.Received, alive.seq)
			}
		}
		for range room - room/4 - 1 { // as many as a family may have
			if refused() {
				t.Fatal("no room, though nothing was heard of the others for a while")
			}
		}
		if got := alive.query(); got.Received != alive.seq {
			t.Errorf("the session that was alive had to go")
		}
	})
}

// TestForgedInTheProbersName: who forges a prober's address can use up what may be
// sent from there without a token. With one, the prober is answered as ever, its
// checks included.
func TestForgedInTheProbersName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		forged, answers := 0, 0
		for i := range 4000 {
			g.conns[0].put(home, wire.Check{ID: wire.NewID()}.Encode())
			forged++
			if i%20 == 0 {
				if _, ok := g.answerTo(wire.Check{ID: wire.NewID(), Token: c.token}); !ok {
					t.Fatal("a check with a token was not answered")
				}
				c.place(flow, c.order(time.Minute, 0))
				c.query()
			}
			answers += len(g.take(0))
			after(time.Second / 4000)
		}
		// A second's worth at once, a second's worth as it passes, and of the
		// rest a few.
		if most := 2*DefaultPPS + 2*excessPPS + 1; answers > most || answers < DefaultPPS {
			t.Errorf("%d forged packets brought %d, want %d to %d", forged, answers, DefaultPPS, most)
		}
	})
}

// answerTo sends a request in a prober's name and returns its answer, whatever
// else is sent meanwhile.
func (g *rig) answerTo(c wire.Check) (wire.CheckReply, bool) {
	g.conns[0].put(home, c.Encode())
	for _, p := range g.take(0) {
		if r, ok := parse(g.t, p.payload).(wire.CheckReply); ok && r.ID == c.ID {
			return r, true
		}
	}
	return wire.CheckReply{}, false
}

// TestForgedInANetworksName: who forges all addresses of a network brings it no more
// packets than the network's rate, and a few refusals.
func TestForgedInANetworksName(t *testing.T) {
	for name, source := range map[string]func(i int) netip.AddrPort{
		"IPv4 /24": func(i int) netip.AddrPort { return sender(9, byte(i), 1+uint16(i)) },
		"IPv6 /48": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 6: byte(i >> 8), 7: byte(i), 15: 1}), 1+uint16(i))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, Config{}, serverA)
				const forged = 8000
				for i := range forged { // in a second
					g.conns[0].put(source(i), wire.Hello{ID: wire.NewID()}.Encode())
					after(time.Second / forged)
				}
				// A second's worth at once, and another as it passes.
				answers, most := len(g.take(0)), 2*(DefaultPPS+excessPPS)*networkRate+1
				if answers > most || answers < DefaultPPS*networkRate {
					t.Errorf("%d forged packets brought %d, want %d to %d", forged, answers, DefaultPPS*networkRate, most)
				}
			})
		})
	}
}
