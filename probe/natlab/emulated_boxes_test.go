package natlab

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestEmulatedTimers checks that each kind of traffic meets the timer that Truth
// says, for boxes and chains of every kind.
func TestEmulatedTimers(t *testing.T) {
	const s = time.Second
	box := NATSpec{Solitary: 30 * s, Stream: 120 * s}
	long := NATSpec{Solitary: 300 * s, Stream: 300 * s}
	for _, test := range []struct {
		name string
		spec Spec
	}{
		{"NAT", Spec{NATs: []NATSpec{box}}},
		{"random ports", Spec{NATs: []NATSpec{{RandomPorts: true}}}},
		{"strict", Spec{NATs: []NATSpec{{Strict: true}}}},
		{"firewall", Spec{NATs: []NATSpec{{None: true}}}},
		{"IPv6 firewall", Spec{Family: IPv6, NATs: []NATSpec{{None: true}}}},
		{"IPv6 NAT", Spec{Family: IPv6, NATs: []NATSpec{box}}},
		{"chain", Spec{NATs: []NATSpec{long, box, long}}},
		{"firewall behind NAT", Spec{NATs: []NATSpec{long, {None: true}}}},
		{"pool", Spec{NATs: []NATSpec{{Addresses: 5}}}},
		{"endpoint-independent", Spec{NATs: []NATSpec{{EndpointIndependent: true}}}},
		{"outbound refresh only", Spec{NATs: []NATSpec{{OutboundOnly: true}}}},
		{"DNS, another port", Spec{NATs: []NATSpec{{DNS: 3 * s}}, Port: 443}},
		{"DNS", Spec{NATs: []NATSpec{long, {DNS: 3 * s}}, Port: dnsPort}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			truth := test.spec.Truth()
			if latest := test.spec.Latest(); latest != truth {
				t.Errorf("Latest = %+v, want Truth, %+v, for no box sweeps", latest, truth)
			}
			m := startModel(t, test.spec)
			server := m.server
			if test.spec.Port != 0 {
				server = m.listenServer(test.spec.Port)
			}
			for name, regime := range map[string]struct {
				want      time.Duration
				establish func(net.PacketConn) net.Addr
			}{
				"solitary": {truth.Solitary, func(c net.PacketConn) net.Addr { return m.out(c, server) }},
				"oneway": {truth.Oneway, func(c net.PacketConn) net.Addr {
					m.out(c, server)
					m.pass(2500 * time.Millisecond)
					return m.out(c, server)
				}},
				"exchange": {truth.Exchange, func(c net.PacketConn) net.Addr {
					m.send(server, m.out(c, server), c)
					return m.out(c, server)
				}},
				"stream": {truth.Stream, func(c net.PacketConn) net.Addr {
					m.send(server, m.out(c, server), c)
					m.pass(2500 * time.Millisecond)
					return m.out(c, server)
				}},
			} {
				for _, early := range []time.Duration{time.Nanosecond, 0} {
					client := m.client()
					external := regime.establish(client)
					m.pass(regime.want - early)
					if got, want := m.in(server, external, client), early > 0; got != want {
						t.Errorf("%s: alive %v, want %v, %v before %v", name, got, want, early, regime.want)
					}
				}
			}
		})
	}
}

// TestEmulatedSweep checks that mappings live until a sweep, and no longer than
// Latest says.
func TestEmulatedSweep(t *testing.T) {
	t.Parallel()
	const timer, sweep, step = 10 * time.Second, 4 * time.Second, 250 * time.Millisecond
	// That inbound packets don't refresh lets them look.
	spec := Spec{NATs: []NATSpec{{Solitary: timer, Stream: timer, Sweep: sweep, OutboundOnly: true}}}
	if got, want := spec.Latest().Solitary, timer+sweep; got != want {
		t.Errorf("Latest = %v, want %v", got, want)
	}
	m := startModel(t, spec)
	var lives []time.Duration
	for i := range time.Duration(4) {
		client := m.client()
		external := m.out(client, m.server)
		life := time.Duration(0)
		for ; m.in(m.server, external, client); life += step {
			m.pass(step)
		}
		if life < timer || life > timer+sweep {
			t.Errorf("a mapping died at %v, want from %v to %v", life, timer, timer+sweep)
		}
		lives = append(lives, life)
		m.pass((i + 1) * sweep / 4) // the next begins at another time of the sweep
	}
	if slices.Max(lives)-slices.Min(lives) < sweep/8 {
		t.Errorf("mappings live %v, want a band", lives)
	}
}

// TestEmulatedBoxes checks what boxes do beside their timers.
func TestEmulatedBoxes(t *testing.T) {
	t.Run("preserved port", func(t *testing.T) {
		m := startModel(t, Spec{NATs: []NATSpec{{}, {}}})
		client := m.client()
		if got, want := unmappedAddr(m.out(client, m.server)), netip.AddrPortFrom(m.ExternalAddr(1), portOf(client.LocalAddr())); got != want {
			t.Errorf("the server sees %v, want %v", got, want)
		}
	})
	t.Run("random port", func(t *testing.T) {
		m := startModel(t, Spec{NATs: []NATSpec{{RandomPorts: true}}})
		same := 0
		for range 20 {
			client := m.client()
			if portOf(m.out(client, m.server)) == portOf(client.LocalAddr()) {
				same++
			}
		}
		if same > 1 {
			t.Errorf("%d of 20 flows kept their port", same)
		}
	})
	t.Run("firewall", func(t *testing.T) {
		m := startModel(t, Spec{NATs: []NATSpec{{None: true}}})
		client := m.client()
		if got := m.out(client, m.server); got.String() != client.LocalAddr().String() {
			t.Errorf("the server sees %v, want %v", got, client.LocalAddr())
		}
		stranger := m.client()
		if m.in(m.server, stranger.LocalAddr(), stranger) {
			t.Error("a packet that the client didn't ask for came in")
		}
	})
	t.Run("nothing", func(t *testing.T) {
		m := startModel(t, Spec{})
		stranger := m.client()
		if !m.in(m.server, stranger.LocalAddr(), stranger) {
			t.Error("a packet that the client didn't ask for was lost")
		}
	})
	t.Run("endpoint-independent", func(t *testing.T) {
		for _, independent := range []bool{true, false} {
			m := startModel(t, Spec{NATs: []NATSpec{{EndpointIndependent: independent, RandomPorts: true}}})
			other := m.listenServer(443)
			client := m.client()
			external := m.out(client, m.server)
			if m.in(other, external, client) != independent {
				t.Errorf("independent %v: a stranger's packet did what it must not do", independent)
			}
			if same := m.out(client, other).String() == external.String(); same != independent {
				t.Errorf("independent %v: the same mapping for both servers: %v", independent, same)
			}
		}
	})
	t.Run("inbound refresh", func(t *testing.T) {
		for _, outboundOnly := range []bool{true, false} {
			m := startModel(t, Spec{NATs: []NATSpec{{OutboundOnly: outboundOnly}}})
			client := m.client()
			external := m.out(client, m.server)
			m.pass(DefaultSolitary - time.Second)
			if !m.in(m.server, external, client) {
				t.Fatal("the mapping died early")
			}
			m.pass(2 * time.Second)
			if alive := m.in(m.server, external, client); alive == outboundOnly {
				t.Errorf("outbound only %v: alive %v after an inbound packet", outboundOnly, alive)
			}
		}
	})
	t.Run("port block", func(t *testing.T) {
		const ports = 8
		m := startModel(t, Spec{NATs: []NATSpec{{Ports: ports}}})
		seen := map[uint16]bool{}
		for range ports {
			seen[portOf(m.out(m.client(), m.server))] = true
		}
		for port := range seen {
			if len(seen) != ports || port < firstPort || port >= firstPort+ports {
				t.Errorf("external ports %v, want %d from %d on", seen, ports, firstPort)
			}
		}
		if !m.blocked(m.client(), m.server) {
			t.Error("a flow more than there are ports came out")
		}
	})
	t.Run("pool", func(t *testing.T) {
		m := startModel(t, Spec{NATs: []NATSpec{{Addresses: 4}}})
		seen := map[netip.Addr]bool{}
		for range 40 {
			seen[unmappedAddr(m.out(m.client(), m.server)).Addr()] = true
		}
		for addr := range seen {
			if !slices.Contains(m.ExternalAddrs(0), addr) || len(seen) < 3 {
				t.Errorf("external addresses %v, want those of %v", seen, m.ExternalAddrs(0))
			}
		}
	})
	t.Run("table", func(t *testing.T) {
		const table = 8
		m := startModel(t, Spec{NATs: []NATSpec{{Table: table}}})
		stream := m.client()
		streamAt := m.out(stream, m.server)
		m.in(m.server, streamAt, stream) // replied: nothing evicts it
		first := m.client()
		external := m.out(first, m.server)
		for range table {
			m.pass(time.Millisecond)
			m.out(m.client(), m.server)
		}
		if m.in(m.server, external, first) {
			t.Error("the oldest mapping is still there, in a table that is too small for it")
		}
		if !m.in(m.server, streamAt, stream) {
			t.Error("a mapping that saw replies was evicted")
		}
	})
}
