package natmodel

import (
	"net/netip"
	"testing"
)

func TestStrayPackets(t *testing.T) {
	preserved := netip.AddrPortFrom(wan1, clientA.Port())
	tests := []struct {
		name  string
		input WANInput
		stray netip.AddrPort // where the stray packet came from
		at    int            // seconds after it at which the flow begins
		want  bool           // port preserved
	}{
		{"accept, same remote", Accept, server, 29, false},
		{"accept, state expired", Accept, server, 30, true},
		{"accept, another port", Accept, sibling, 1, true},
		{"accept, another remote", Accept, other, 1, true},
		{"drop", Drop, server, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Linux(30*sec, 120*sec)
			cfg.WANInput = tt.input
			b := newBox(t, cfg)
			if b.reply(0, tt.stray, preserved, clientA) {
				t.Fatal("stray packet was let in")
			}
			got := b.send(sec*dur(tt.at), clientA, server)
			if (got == preserved) != tt.want {
				t.Errorf("flow got %v, preserved: want %v", got, tt.want)
			}
			if b.Mappings(sec*dur(tt.at)) != 1 {
				t.Error("state of a stray packet was counted as a mapping")
			}
		})
	}
}

func TestBurstIntoDeadMappingMovesTheNextFlow(t *testing.T) {
	b := newBox(t, Linux(30*sec, 120*sec))
	ext := b.send(0, clientA, server)
	for i := range 3 {
		if b.reply(30*sec+dur(i)*sec, server, ext, clientA) {
			t.Fatal("packet passed a dead mapping")
		}
	}
	moved := b.send(61*sec, clientA, server) // the last copy's state lives to 62 s
	if moved == ext {
		t.Errorf("flow kept %v in spite of the state there", ext)
	}
	if !b.reply(61*sec, server, moved, clientA) || b.reply(61*sec, server, ext, clientA) {
		t.Error("only the new mapping must let packets in")
	}
}

func TestFullTable(t *testing.T) {
	src := func(i int) netip.AddrPort { return netip.AddrPortFrom(clientA.Addr(), uint16(40000+i)) }
	fill := func(full FullPolicy) (box, []netip.AddrPort) {
		cfg := Linux(30*sec, 120*sec)
		cfg.MaxMappings, cfg.Full = 3, full
		b := newBox(t, cfg)
		var ext []netip.AddrPort
		for i := range 3 {
			ext = append(ext, b.send(dur(i)*sec, src(i), server))
		}
		return b, ext
	}
	t.Run("refuse", func(t *testing.T) {
		b, ext := fill(RefuseNew)
		if _, ok := b.Outbound(3*sec, pkt(src(3), server)); ok {
			t.Error("a full table took a new mapping")
		}
		if !b.reply(3*sec, server, ext[0], src(0)) {
			t.Error("an old mapping is gone")
		}
		if _, ok := b.Outbound(31*sec, pkt(src(3), server)); !ok { // mapping 1 died just now
			t.Error("no room although a mapping died")
		}
	})
	t.Run("evict", func(t *testing.T) {
		b, ext := fill(EvictUnreplied)
		b.reply(2*sec, server, ext[0], src(0))
		b.send(3*sec, src(3), server)
		for i, want := range []bool{true, false, true} {
			if got := b.alive(3*sec, ext[i], server); got != want {
				t.Errorf("mapping %d alive: %v, want %v", i, got, want)
			}
		}
	})
	t.Run("nothing to evict", func(t *testing.T) {
		b, ext := fill(EvictUnreplied)
		for i := range ext {
			b.reply(2*sec, server, ext[i], src(i))
		}
		if _, ok := b.Outbound(3*sec, pkt(src(3), server)); ok {
			t.Error("a table full of replied flows took a new one")
		}
	})
	t.Run("strays count", func(t *testing.T) {
		b, _ := fill(RefuseNew)
		b.reply(40*sec, server, netip.AddrPortFrom(wan1, 9), clientA)
		b.send(40*sec, src(0), server)
		b.send(40*sec, src(1), server)
		if _, ok := b.Outbound(40*sec, pkt(src(2), server)); ok {
			t.Error("stray packet's state took no room")
		}
	})
}

func TestFlush(t *testing.T) {
	cfg := Flat(60 * sec)
	cfg.Sweep = 10 * sec
	b := newBox(t, cfg)
	ext := b.send(0, clientA, server)
	b.Flush()
	if b.Mappings(0) != 0 || b.reply(0, server, ext, clientA) {
		t.Error("a mapping outlived the flush")
	}
	if got := b.send(1*sec, clientA, server); !b.reply(1*sec, server, got, clientA) {
		t.Error("a new mapping doesn't work")
	}
}

func TestChangeExternal(t *testing.T) {
	b := newBox(t, Flat(60*sec))
	ext := b.send(0, clientA, server)
	if err := b.ChangeExternal([]netip.Addr{wan2}); err != nil {
		t.Fatal(err)
	}
	if b.reply(0, server, ext, clientA) {
		t.Error("the old address still works")
	}
	if got := b.send(1*sec, clientA, server); got.Addr() != wan2 {
		t.Errorf("new flow has %v, want address %v", got, wan2)
	}
	if got := b.Config().External; len(got) != 1 || got[0] != wan2 {
		t.Errorf("Config().External = %v, want %v", got, wan2)
	}

	for _, pool := range [][]netip.Addr{nil, {netip.MustParseAddr("2001:db8::1")}} {
		if err := b.ChangeExternal(pool); err == nil {
			t.Errorf("ChangeExternal(%v) succeeded", pool)
		}
	}
	if err := newBox(t, Firewall(60*sec)).ChangeExternal([]netip.Addr{wan2}); err == nil {
		t.Error("a firewall changed its external address")
	}
}

func TestWrongIPVersionIsDropped(t *testing.T) {
	b := newBox(t, Flat(60*sec))
	src, dst := netip.MustParseAddrPort("[2001:db8::2]:1000"), netip.MustParseAddrPort("[2001:db8::1]:1000")
	if _, ok := b.Outbound(0, pkt(src, dst)); ok {
		t.Error("IPv6 packet left through an IPv4 NAT")
	}
}

func TestTTL(t *testing.T) {
	b := newBox(t, Flat(60*sec))
	short := pkt(clientA, server)
	for _, ttl := range []int{0, 1} {
		short.TTL = ttl
		if _, ok := b.Outbound(0, short); ok || b.Mappings(0) != 0 {
			t.Errorf("TTL %d: left or made a mapping", ttl)
		}
	}
	ext := b.send(0, clientA, server)
	short.TTL = 1
	if _, ok := b.Outbound(50*sec, short); ok {
		t.Error("packet left with TTL 0")
	}
	if got := b.lifetime(50*sec, ext, server); got != 60*sec {
		t.Errorf("lifetime after a packet that got as far as the box = %v, want 1m0s", got)
	}
	in := pkt(server, ext)
	in.TTL = 1
	if _, ok := b.Inbound(51*sec, in); ok {
		t.Error("packet came in with TTL 0")
	}
}

func TestChain(t *testing.T) {
	inner, outer := Linux(4*sec, 4*sec), Linux(12*sec, 12*sec)
	inner.External = []netip.Addr{netip.MustParseAddr("100.64.0.2")}
	outer.External = []netip.Addr{wan1}
	newChain := func() Chain {
		c, err := NewChain(inner, outer)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	through := func(c Chain, at dur, ttl int) (Packet, bool) {
		p := pkt(clientA, server)
		p.TTL = ttl
		return c.Outbound(at, p)
	}

	t.Run("both translate", func(t *testing.T) {
		c := newChain()
		p, ok := through(c, 0, 64)
		if !ok || p.Src.Addr() != wan1 || p.TTL != 62 {
			t.Fatalf("left as %+v, %v", p, ok)
		}
		back, ok := c.Inbound(1*sec, pkt(server, p.Src))
		if !ok || back.Dst != clientA || back.TTL != 62 {
			t.Errorf("came back as %+v, %v", back, ok)
		}
		if shortest, ok := c.Timers(); !ok || shortest != FlatTimers(4*sec) {
			t.Errorf("Timers = %+v, %v", shortest, ok)
		}
	})
	// A keepalive that gets only as far as the inner box keeps that one alive, so
	// the path lives as long as the outer one's own timer.
	for _, tt := range []struct {
		name      string
		keepalive bool
		lives     dur
	}{{"idle", false, 4 * sec}, {"inner kept alive", true, 12 * sec}} {
		t.Run(tt.name, func(t *testing.T) {
			for _, at := range []dur{tt.lives - 1, tt.lives} {
				c := newChain()
				p, _ := through(c, 0, 64)
				for k := sec; tt.keepalive && k <= at; k += sec {
					if _, ok := through(c, k, 1); ok {
						t.Fatal("TTL 1 left the chain")
					}
				}
				_, ok := c.Inbound(at, pkt(server, p.Src))
				if want := at < tt.lives; ok != want {
					t.Errorf("packet at %v passes: %v, want %v", at, ok, want)
				}
			}
		})
	}
	t.Run("open", func(t *testing.T) {
		var open Chain
		if p, ok := through(open, 0, 64); !ok || p.Src != clientA || p.TTL != 64 {
			t.Errorf("left an open path as %+v, %v", p, ok)
		}
		if _, ok := open.Timers(); ok {
			t.Error("an open path has timers")
		}
	})
	t.Run("bad config is named", func(t *testing.T) {
		if _, err := NewChain(inner, Config{}); err == nil {
			t.Error("NewChain took a zero config")
		}
	})
}
