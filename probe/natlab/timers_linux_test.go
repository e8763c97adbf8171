package natlab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// shortBox has timers short enough to wait for, and far enough apart to tell.
var shortBox = NATSpec{Solitary: 2 * time.Second, Stream: 4 * time.Second}

// tick is the resolution of the kernel's clock for these timers, 10 ms at
// most; gaps closer than that to a timer prove nothing.
const tick = 10 * time.Millisecond

// TestTimers checks that each regime meets the timer that Truth says, to
// within a tenth of a second on both sides.
func TestTimers(t *testing.T) {
	t.Parallel()
	truth := Spec{NATs: []NATSpec{shortBox}}.Truth()
	for _, regime := range []struct {
		name      string
		want      time.Duration
		establish func(*flow)
	}{
		{"solitary", truth.Solitary, func(f *flow) { f.request() }},
		{"oneway", truth.Oneway, func(f *flow) { f.request(); f.request() }},
		{"oneway long", truth.Oneway, func(f *flow) {
			for range 3 {
				f.request()
				wait(f.n.t, 1200*time.Millisecond)
			}
			f.request()
		}},
		{"exchange", truth.Exchange, func(f *flow) { f.roundTrip(); f.request() }},
		{"stream", truth.Stream, func(f *flow) {
			for range 2 {
				f.roundTrip()
				wait(f.n.t, 1200*time.Millisecond)
			}
			f.request()
		}},
	} {
		for _, gap := range []time.Duration{regime.want - 100*time.Millisecond, regime.want + 100*time.Millisecond} {
			t.Run(fmt.Sprintf("%s at %v", regime.name, gap), func(t *testing.T) {
				t.Parallel()
				n := openNetwork(t, Spec{NATs: []NATSpec{shortBox}})
				checkLifetime(n, regime.want, gap, regime.establish)
			})
		}
	}
}

// TestChainTimers checks that the shortest box of a chain decides, wherever it
// stands, and that firewalls count as NATs do.
func TestChainTimers(t *testing.T) {
	t.Parallel()
	long := NATSpec{Solitary: 20 * time.Second, Stream: 20 * time.Second}
	for _, test := range []struct {
		name string
		spec Spec
	}{
		{"inner", Spec{NATs: []NATSpec{shortBox, long}}},
		{"outer", Spec{NATs: []NATSpec{long, shortBox}}},
		{"middle of three", Spec{NATs: []NATSpec{long, shortBox, long}}},
		{"random ports", Spec{NATs: []NATSpec{{Solitary: shortBox.Solitary, RandomPorts: true}}}},
		{"strict", Spec{NATs: []NATSpec{{Solitary: shortBox.Solitary, Strict: true}}}},
		{"firewall", Spec{NATs: []NATSpec{{Solitary: shortBox.Solitary, None: true}}}},
		{"firewall behind NAT", Spec{NATs: []NATSpec{long, {Solitary: shortBox.Solitary, None: true}}}},
		{"NAT behind firewalls", Spec{NATs: []NATSpec{{None: true}, {None: true, Strict: true}, shortBox}}},
		{"IPv6 firewall", Spec{Family: IPv6, NATs: []NATSpec{{Solitary: shortBox.Solitary, None: true, Strict: true}}}},
		{"IPv6 firewalls", Spec{Family: IPv6, NATs: []NATSpec{{None: true}, {Solitary: shortBox.Solitary, None: true}}}},
		{"IPv6 NAT", Spec{Family: IPv6, NATs: []NATSpec{shortBox}}},
	} {
		want := test.spec.Truth().Solitary
		for _, gap := range []time.Duration{want - 100*time.Millisecond, want + 100*time.Millisecond} {
			t.Run(fmt.Sprintf("%s at %v", test.name, gap), func(t *testing.T) {
				t.Parallel()
				n := openNetwork(t, test.spec)
				checkLifetime(n, want, gap, func(f *flow) { f.request() })
			})
		}
	}
}

// TestDNS checks that flows to port 53 have a timer of their own, whatever they
// saw, and others don't.
func TestDNS(t *testing.T) {
	t.Parallel()
	const short = 2 * time.Second
	for _, family := range []Family{IPv4, IPv6} {
		for _, to := range []uint16{dnsPort, dnsPort + 1} {
			spec := Spec{Family: family, NATs: []NATSpec{{Solitary: 3 * time.Second, Stream: 4 * time.Second, DNS: short}}, Port: to}
			want := spec.Truth()
			if to == dnsPort && (want.Solitary != short || want.Stream != short) {
				t.Fatalf("Truth = %v, want %v", want, short)
			}
			for name, establish := range map[string]func(*flow){
				"solitary": func(f *flow) { f.request() },
				"stream": func(f *flow) {
					for range 2 {
						f.roundTrip()
						wait(f.n.t, 1200*time.Millisecond)
					}
					f.request()
				},
			} {
				life := map[string]time.Duration{"solitary": want.Solitary, "stream": want.Stream}[name]
				for _, gap := range []time.Duration{life - 100*time.Millisecond, life + 100*time.Millisecond} {
					t.Run(fmt.Sprintf("%s port %d %s at %v", family, to, name, gap), func(t *testing.T) {
						t.Parallel()
						n := &network{Lab: lab(t, spec), t: t}
						server, err := n.ServerListen(t.Context(), "udp", netip.AddrPortFrom(n.ServerAddr(), to).String())
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(func() { _ = server.Close() })
						n.server = server
						n.control = n.flow()
						checkLifetime(n, life, gap, establish)
					})
				}
			}
		}
	}
}

// TestOpenKeepsNoState checks the lab where nothing expires.
func TestOpenKeepsNoState(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{})
	f := n.flow()
	f.request()
	if got, want := address(f.external), n.ClientAddr(); got != want {
		t.Errorf("the server sees %v, want the client's own address %v", got, want)
	}
	// Whoever talks first, and from any port, gets through.
	stranger := n.flow()
	stranger.external = stranger.conn.LocalAddr()
	if !stranger.reaches() {
		t.Error("a packet that the client didn't ask for was lost")
	}
}

// TestHostsTrackNothing checks that the boxes are the only ones with timers:
// state on the client or the server would falsify what is measured.
func TestHostsTrackNothing(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{shortBox}, Loss: 1e-6})
	n.flow().roundTrip()
	for node, want := range []string{"0", "1", "0"} {
		if got := n.tracked(node); got != want {
			t.Errorf("node %d of client, NAT, server tracks %s flows, want %s", node, got, want)
		}
	}
}

// checkLifetime establishes a mapping, lets it be for a gap, and checks that it
// lives exactly if the gap was shorter than want. A machine that was too busy
// to keep the gap gets more tries.
func checkLifetime(n *network, want, gap time.Duration, establish func(*flow)) {
	n.t.Helper()
	const tries = 3
	for range tries {
		f := n.flow()
		establish(f)
		wait(n.t, time.Until(f.after.Add(gap)))
		// The NAT saw a silence between these two.
		shortest := time.Since(f.after)
		n.reply(f.external)
		longest := time.Since(f.before)
		n.control.roundTrip()
		if err := f.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			n.t.Fatal(err)
		}
		_, err := read(f.conn)
		alive := err == nil
		switch {
		case longest < want-tick:
			if !alive {
				n.t.Errorf("dead after %v, want alive until %v", longest, want)
			}
		case shortest > want+tick:
			if alive {
				n.t.Errorf("alive after %v, want dead from %v on", shortest, want)
			}
			// The path itself is fine, and the client can begin anew.
			f.roundTrip()
		default:
			continue
		}
		if (gap < want) == (longest < want) {
			return
		}
	}
	n.t.Errorf("this machine was too busy to keep a gap of %v, %d times", gap, tries)
}
