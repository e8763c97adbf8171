package natmodel

import (
	"net/netip"
	"testing"
)

func TestMappingBehavior(t *testing.T) {
	tests := []struct {
		mapping              Dependence
		samePort, sameRemote bool // whether sibling and other share the server's mapping
	}{
		{EndpointIndependent, true, true},
		{AddressDependent, true, false},
		{AddressAndPortDependent, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.mapping.String(), func(t *testing.T) {
			cfg := Flat(60 * sec)
			cfg.Mapping = tt.mapping
			cfg.Ports = Random
			b := newBox(t, cfg)
			ext := b.send(0, clientA, server)
			if again := b.send(1*sec, clientA, server); again != ext {
				t.Errorf("same flow moved from %v to %v", ext, again)
			}
			if got := b.send(1*sec, clientA, sibling) == ext; got != tt.samePort {
				t.Errorf("other port of the same address shares the mapping: %v, want %v", got, tt.samePort)
			}
			if got := b.send(1*sec, clientA, other) == ext; got != tt.sameRemote {
				t.Errorf("other address shares the mapping: %v, want %v", got, tt.sameRemote)
			}
		})
	}
}

func TestFilteringBehavior(t *testing.T) {
	tests := []struct {
		filtering                Dependence
		fromSibling, fromAnother bool
	}{
		{EndpointIndependent, true, true},
		{AddressDependent, true, false},
		{AddressAndPortDependent, false, false},
	}
	for _, tt := range tests {
		for _, translate := range []bool{true, false} {
			name := tt.filtering.String() + " NAT"
			if !translate {
				name = tt.filtering.String() + " firewall"
			}
			t.Run(name, func(t *testing.T) {
				cfg := Flat(60 * sec)
				cfg.NoTranslation = !translate
				cfg.Filtering = tt.filtering
				b := newBox(t, cfg)
				ext := b.send(0, clientA, server)
				if !translate && ext != clientA {
					t.Fatalf("firewall translated %v to %v", clientA, ext)
				}
				if !b.reply(0, server, ext, clientA) {
					t.Error("reply of the server was filtered")
				}
				if got := b.reply(0, sibling, ext, clientA); got != tt.fromSibling {
					t.Errorf("from another port: %v, want %v", got, tt.fromSibling)
				}
				if got := b.reply(0, other, ext, clientA); got != tt.fromAnother {
					t.Errorf("from another address: %v, want %v", got, tt.fromAnother)
				}
				b.send(1*sec, clientA, other)
				if !b.reply(1*sec, other, ext, clientA) {
					t.Error("reply of a remote that was contacted later was filtered")
				}
			})
		}
	}
}

func TestNothingComesInUnasked(t *testing.T) {
	for _, cfg := range []Config{Linux(30*sec, 120*sec), Flat(30 * sec), Firewall(30 * sec)} {
		b := newBox(t, cfg)
		for _, dst := range []netip.AddrPort{clientA, netip.AddrPortFrom(wan1, 40000)} {
			if b.reply(0, server, dst, clientA) {
				t.Errorf("unasked packet to %v was let in", dst)
			}
		}
		ext := b.send(0, clientA, server)
		if b.reply(0, server, netip.AddrPortFrom(ext.Addr(), ext.Port()+1), clientA) {
			t.Error("packet to a neighbouring port was let in")
		}
	}
}

func TestPortPreservation(t *testing.T) {
	t.Run("kept", func(t *testing.T) {
		b := newBox(t, Flat(60*sec))
		if got, want := b.send(0, clientA, server), netip.AddrPortFrom(wan1, 40000); got != want {
			t.Errorf("external endpoint %v, want %v", got, want)
		}
	})
	t.Run("taken", func(t *testing.T) {
		b := newBox(t, Flat(60*sec))
		a := b.send(0, clientA, server)
		got := b.send(0, clientB, server)
		if got == a || got.Addr() != wan1 {
			t.Errorf("second client got %v, the first has %v", got, a)
		}
		if !b.reply(0, server, got, clientB) || !b.reply(0, server, a, clientA) {
			t.Error("a reply was dropped")
		}
	})
	t.Run("free again after expiry", func(t *testing.T) {
		b := newBox(t, Flat(60*sec))
		a := b.send(0, clientA, server)
		if got := b.send(60*sec, clientB, server); got != a {
			t.Errorf("second client got %v, want %v", got, a)
		}
		if b.send(61*sec, clientA, server) == a {
			t.Error("first client got back a port that is taken now")
		}
	})
	t.Run("outside the range", func(t *testing.T) {
		cfg := Flat(60 * sec)
		cfg.MinPort, cfg.MaxPort = 50000, 50099
		b := newBox(t, cfg)
		if got := b.send(0, clientA, server).Port(); got < 50000 || got > 50099 {
			t.Errorf("external port %d, want 50000 to 50099", got)
		}
	})
	t.Run("overlap", func(t *testing.T) {
		b := newBox(t, Linux(30*sec, 120*sec))
		a := b.send(0, clientA, server)
		if got := b.send(0, clientB, other); got != a {
			t.Errorf("flow to another remote got %v, want the shared %v", got, a)
		}
		if got := b.send(0, clientB, server); got == a {
			t.Errorf("flow to the same remote shares %v", got)
		}
		if !b.reply(0, server, a, clientA) || !b.reply(0, other, a, clientB) {
			t.Error("replies to a shared port went astray")
		}
	})
}

func TestSequentialPorts(t *testing.T) {
	cfg := Flat(60 * sec)
	cfg.Ports = Sequential
	cfg.MinPort, cfg.MaxPort = 2000, 2004
	b := newBox(t, cfg)
	src := func(i int) netip.AddrPort { return netip.AddrPortFrom(clientA.Addr(), uint16(40000+i)) }
	last := b.send(0, src(0), server).Port()
	for i := 1; i < 5; i++ {
		want := 2000 + (last-2000+1)%5
		if last = b.send(0, src(i), server).Port(); last != want {
			t.Fatalf("port %d of the row is %d, want %d", i, last, want)
		}
	}
	if _, ok := b.Outbound(0, pkt(src(5), server)); ok {
		t.Error("a sixth flow found one of five ports free")
	}
	if _, ok := b.Outbound(60*sec, pkt(src(5), server)); !ok {
		t.Error("no port was free after all mappings died")
	}
}

func TestRandomPortsAreSeeded(t *testing.T) {
	ports := func(seed uint64) (p [8]uint16) {
		cfg := PF()
		cfg.Seed = seed
		b := newBox(t, cfg)
		for i := range p {
			p[i] = b.send(0, netip.AddrPortFrom(clientA.Addr(), uint16(40000+i)), server).Port()
		}
		return p
	}
	if first, again := ports(1), ports(1); first != again {
		t.Error("the same seed gave different ports")
	}
	if ports(1) == ports(2) {
		t.Error("different seeds gave the same ports")
	}
}

func TestPooling(t *testing.T) {
	cfg := Flat(60 * sec)
	cfg.External = []netip.Addr{wan1, wan2, wan3}
	addresses := func(p Pooling) map[netip.Addr]int {
		cfg.Pooling = p
		b := newBox(t, cfg)
		seen := make(map[netip.Addr]int)
		for i := range 60 {
			src := netip.AddrPortFrom(clientA.Addr(), uint16(40000+i))
			ext := b.send(0, src, server)
			seen[ext.Addr()]++
			if !b.reply(0, server, ext, src) {
				t.Fatalf("reply to %v was dropped", ext)
			}
		}
		return seen
	}
	if got := addresses(Paired); len(got) != 1 {
		t.Errorf("paired: one client got addresses %v", got)
	}
	if got := addresses(Arbitrary); len(got) != 3 {
		t.Errorf("arbitrary: 60 flows got addresses %v, want all three", got)
	}
}

func TestArbitraryPoolUsesAllPorts(t *testing.T) {
	cfg := Flat(60 * sec)
	cfg.External = []netip.Addr{wan1, wan2}
	cfg.Pooling = Arbitrary
	cfg.MinPort, cfg.MaxPort = 3000, 3004
	b := newBox(t, cfg)
	for i := range 10 {
		b.send(0, netip.AddrPortFrom(clientA.Addr(), uint16(40000+i)), server)
	}
	if _, ok := b.Outbound(0, pkt(clientB, server)); ok {
		t.Error("eleventh flow through two addresses of five ports")
	}
}
