package main_test

import (
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// shot is a packet of an attack.
type shot struct {
	from    netip.AddrPort // invalid: one of the crowd, forged
	payload []byte
	again   bool // its transaction id stays
}

// attack is something that is done to a reflector. Shots returns the next so many
// packets of it; held is what must be true of the reflector's metrics afterwards,
// or it was no such attack.
type attack struct {
	name  string
	bots  func(*storm)
	later bool // it begins when the first measurement runs already
	shots func(s *storm, count int) []shot
	met   func(metrics) bool
}

// attacks are those that reflector/SECURITY.md tells of.
func attacks() []attack {
	return []attack{
		{
			name:  "forged sources",
			shots: func(s *storm, count int) []shot { return s.each(count, s.unproven) },
			met:   func(m metrics) bool { return m.of(`requests_total{kind="plain",result="answered"}`) > 0 },
		},
		{
			name: "forged in the prober's name", later: true,
			shots: func(s *storm, count int) []shot { return s.each(count, s.inItsName) },
			met:   func(m metrics) bool { return m.of(`limit_refusals_total{limit="packet rate"}`) > 0 },
		},
		{
			name: "guessed tokens", bots: oneBot,
			shots: func(s *storm, count int) []shot { return s.each(count, s.guess) },
			met:   func(m metrics) bool { return m.of(`requests_total{kind="order",result="refused"}`) > 0 },
		},
		{
			name: "replays", bots: oneBot,
			shots: func(s *storm, count int) []shot { return s.each(count, s.replay) },
			met:   func(m metrics) bool { return m.of(`requests_total{kind="query",result="refused"}`) > 0 },
		},
		{
			name: "a pulse", bots: botnet,
			shots: func(s *storm, count int) []shot { return s.each(count, s.pulse) },
			met:   func(m metrics) bool { return m.of(`limit_refusals_total{limit="slot full"}`) > 0 },
		},
		{
			name: "orders", bots: botnet,
			shots: func(s *storm, count int) []shot { return s.each(count, s.order) },
			met:   func(m metrics) bool { return m.of("orders_pending") > stormRate },
		},
		{
			name: "sessions", bots: botnet,
			shots: func(s *storm, count int) []shot { return s.each(count, s.query) },
			met:   func(m metrics) bool { return m.of("sessions") > stormRate },
		},
		{
			name: "malformed", bots: oneBot,
			shots: func(s *storm, count int) []shot { return s.each(count, s.malformed) },
			met: func(m metrics) bool {
				return m.of(`requests_total{kind="malformed",result="refused"}`) > 0 && m.of(`requests_total{kind="foreign",result="dropped"}`) > 0
			},
		},
		{
			name: "all of these", bots: botnet, later: true,
			shots: func(s *storm, count int) []shot {
				all := []func() shot{s.unproven, s.inItsName, s.guess, s.replay, s.pulse, s.order, s.query, s.malformed}
				return s.each(count, func() shot { return all[s.random.IntN(len(all))]() })
			},
			met: func(m metrics) bool {
				return m.of(`limit_refusals_total{limit="slot full"}`) > 0 && m.of("orders_pending") > 0
			},
		},
	}
}

// each makes so many shots.
func (s *storm) each(count int, next func() shot) []shot {
	shots := make([]shot, count)
	for i := range shots {
		shots[i] = next()
	}
	return shots
}

// oneBot is somebody with an address of his own, and a session.
func oneBot(s *storm) { s.addBots(1, 1) }

// botnet is many of them: 64 networks with 4 addresses each.
func botnet(s *storm) { s.addBots(64, 4) }

func (s *storm) addBots(networks, each int) {
	for n := range networks {
		for i := range each {
			addr := netip.AddrFrom4([4]byte{12, byte(n), 1, byte(1 + i)})
			b := s.newBot(netip.AddrPortFrom(addr, 40000))
			if err := b.prove(); err != nil {
				s.t.Fatal(err)
			}
			s.bots = append(s.bots, b)
		}
	}
}

func (s *storm) bot() *bot { return s.bots[s.random.IntN(len(s.bots))] }

// unproven returns a message as anyone can send it.
func (s *storm) unproven() shot {
	switch s.random.IntN(5) {
	case 0, 1:
		return shot{payload: wire.Binding{ID: wire.NewID()}.Encode()}
	case 2:
		return shot{payload: wire.Hello{ID: wire.NewID()}.Encode()}
	case 3:
		return shot{payload: wire.Order{ID: wire.NewID(), Session: wire.NewSessionID(), Tokens: make([]wire.Token, 4), Copies: 10, Size: 600}.Encode()}
	default:
		return shot{payload: s.junk(200)}
	}
}

// inItsName returns a request without a token from the address of the prober's NAT.
// Its answer may meet a flow there.
func (s *storm) inItsName() shot {
	from := netip.AddrPortFrom(s.prober, uint16(1024+s.random.IntN(60000)))
	switch s.random.IntN(5) {
	case 0:
		return shot{from: from, payload: wire.Binding{ID: wire.NewID()}.Encode()}
	case 1, 2:
		return shot{from: from, payload: wire.Hello{ID: wire.NewID()}.Encode()}
	default:
		return shot{from: from, payload: wire.Check{ID: wire.NewID()}.Encode()}
	}
}

func (s *storm) junk(most int) []byte {
	b := make([]byte, s.random.IntN(most))
	for i := range b {
		b[i] = byte(s.random.Uint32())
	}
	return b
}

// guess returns an order or a query with a token that nobody gave out, for one of
// the crowd. The session is the bot's own, so that only the token stands between.
func (s *storm) guess() shot {
	var t wire.Token
	for i := range t {
		t[i] = byte(s.random.Uint32())
	}
	b := s.bot()
	copy(t[:4], b.token[:4]) // when it expires
	if s.random.IntN(2) == 0 {
		b.seq++
		return shot{payload: wire.Query{ID: wire.NewID(), Session: b.session, Token: t, Seq: b.seq}.Encode()}
	}
	o := b.order(time.Second, 3)
	o.Tokens = []wire.Token{t, t, t, t}
	return shot{payload: o.Encode()}
}

// replay returns what a bot may send, in the name of one of the crowd.
func (s *storm) replay() shot {
	b := s.bot()
	switch s.random.IntN(3) {
	case 0: // as it was sent
		o := b.order(time.Second, 3)
		packet := o.Encode()
		s.send(s.packet(nil, b.addr, packet))
		return shot{payload: packet, again: true}
	case 1:
		return shot{payload: b.order(time.Second, 10).Encode()}
	default: // so that beacons go there
		b.seq++
		return shot{payload: wire.Query{ID: wire.NewID(), Session: b.session, Token: b.token, Seq: b.seq}.Encode()}
	}
}

// pulse returns a bot's order that is due 8 s after the storm began, as all of
// them are, and afterwards each 8 s.
func (s *storm) pulse() shot {
	const every = 8 * time.Second
	b := s.bot()
	delay := every - time.Since(s.begun)%every
	return shot{from: b.addr, payload: b.order(delay, 10).Encode()}
}

// order returns a bot's order that stays in memory.
func (s *storm) order() shot {
	b := s.bot()
	return shot{from: b.addr, payload: b.order(time.Minute+time.Duration(s.random.IntN(500))*time.Second, 1).Encode()}
}

// query returns a bot's query that makes one session more.
func (s *storm) query() shot {
	b := s.bot()
	return shot{from: b.addr, payload: wire.Query{ID: wire.NewID(), Session: wire.NewSessionID(), Token: b.token, Seq: 1}.Encode()}
}

// malformed returns a message that was damaged, cut short or made longer, or one
// that is too long for any of natprobe's.
func (s *storm) malformed() shot {
	b := s.bot()
	var packet []byte
	switch s.random.IntN(4) {
	case 0:
		return shot{payload: s.junk(4000), again: true}
	case 1:
		packet = b.order(time.Second, 3).Encode()
	case 2:
		packet = wire.Query{ID: wire.NewID(), Session: b.session, Token: b.token, Seq: 1, Orders: make([]wire.ID, 3)}.Encode()
	case 3:
		packet = wire.Hello{ID: wire.NewID()}.Encode()
	}
	for range 1 + s.random.IntN(4) {
		if at := 20 + s.random.IntN(len(packet)-20); s.random.IntN(2) == 0 {
			packet[at] = byte(s.random.Uint32())
		} else {
			packet[at] ^= byte(1 << s.random.IntN(8))
		}
	}
	switch s.random.IntN(4) {
	case 0:
		packet = packet[:s.random.IntN(len(packet)+1)]
	case 1:
		packet = append(packet, s.junk(40)...)
	}
	return shot{payload: packet}
}
