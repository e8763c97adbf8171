package main_test

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
)

// slowVariable asks for tests that wait for WireGuard's own timers of minutes.
const slowVariable = "NATPROBE_TEST_SLOW"

// outsides are the labs for tunnels by their outer addresses: NATs for IPv4,
// firewalls for IPv6, with the same timers.
func outsides() map[string]natlab.Spec {
	ipv6 := roaming()
	ipv6.Family = natlab.IPv6
	for _, boxes := range [][]natlab.NATSpec{ipv6.NATs, ipv6.Elsewhere} {
		for i := range boxes {
			boxes[i].None = true
		}
	}
	return map[string]natlab.Spec{"IPv4 outside": roaming(), "IPv6 outside": ipv6}
}

// TestKernelTunnelDebianServer has Debian's wireguard-go as the server of our
// tunnel.
func TestKernelTunnelDebianServer(t *testing.T) {
	needTunnels(t, "wireguard-go", "wg", "ip")
	for name, spec := range outsides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startKernelNet(t, spec)
			allowIPv6(t, n.Lab)
			e := newEnds(t, n.ServerAddr(), "4")
			server := startDebian(t, n.StartServer, e.serverFile)
			client := startTunnel(t, n.StartClient, e.clientFile)
			client.await("the handshake", shookHands(time.Time{}))
			k := newKnockers(t, n.Lab)
			k.must("after the handshake")
			checkShow(t, client, e.client, e.server, e.endpoint)
			checkSet(t, client, e.server)

			if err := n.Move(1); err != nil {
				t.Fatal(err)
			}
			poll(t, "the server follows the client elsewhere", func() bool {
				return seenAt(wgPeerOf(t, server.iface).endpoint, outerAddr(n.Lab, spec, 1))
			})
			k.must("elsewhere")
			if err := n.Move(0); err != nil {
				t.Fatal(err)
			}
			poll(t, "the server follows the client home", func() bool {
				return seenAt(wgPeerOf(t, server.iface).endpoint, outerAddr(n.Lab, spec, 0))
			})
			k.must("back home")

			// A server that was restarted knows neither the session nor where its
			// client is. WireGuard calls anew 15 s after data that nothing came back for.
			server.restart(e.serverFile)
			restarted := time.Now()
			greet := greeter(t, n.Lab)
			client.await("a handshake with the server's next life", func(s status) bool {
				greet()
				return shookHands(restarted)(s)
			})
			k.must("after the server was restarted")

			// Removed through wg and named again, the peer is as one that is new.
			psk := secretFile(t, e.psk)
			wg(t, "set", client.iface, "peer", e.server.public, "remove")
			client.await("wg has removed the peer", func(s status) bool { return len(s.Peers) == 0 })
			again := time.Now()
			wg(t, "set", client.iface, "peer", e.server.public, "preshared-key", psk, "endpoint", e.endpoint,
				"allowed-ips", serverInside.hosts(), "persistent-keepalive", "4")
			client.await("a handshake with the peer that wg named again", shookHands(again))
			k.must("after the peer was removed and named again")
			waitForRekey(t, client, k)
		})
	}
}

// TestKernelTunnelDebianClient has Debian's wireguard-go as the client of our
// tunnel.
func TestKernelTunnelDebianClient(t *testing.T) {
	needTunnels(t, "wireguard-go", "wg", "ip")
	for name, spec := range outsides() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startKernelNet(t, spec)
			allowIPv6(t, n.Lab)
			e := newEnds(t, n.ServerAddr(), "4")
			server := startTunnel(t, n.StartServer, e.serverFile)
			server.await("the server is up", func(status) bool { return true })
			client := startDebian(t, n.StartClient, e.clientFile)
			server.await("the handshake", shookHands(time.Time{}))
			k := newKnockers(t, n.Lab)
			k.must("after the handshake")
			checkShow(t, server, e.server, e.client, server.endpoint())
			if !seenAt(server.endpoint(), outerAddr(n.Lab, spec, 0)) {
				t.Errorf("at home the client is at %s, want %v", server.endpoint(), outerAddr(n.Lab, spec, 0))
			}

			for _, where := range []int{1, 0} {
				if err := n.Move(where); err != nil {
					t.Fatal(err)
				}
				client.roam(e)
				server.await("the client is elsewhere", func(s status) bool {
					return len(s.Peers) == 1 && seenAt(s.Peers[0].Endpoint, outerAddr(n.Lab, spec, where))
				})
				k.must("after a move")
			}

			restarted := time.Now()
			client.restart(e.clientFile)
			server.await("a handshake with the client's next life", shookHands(restarted))
			k.must("after the client was restarted")

			// Removed and named again, the client is a stranger until it calls: 15 s
			// after data that nothing came back for.
			psk := secretFile(t, e.psk)
			wg(t, "set", server.iface, "peer", e.client.public, "remove")
			again := time.Now()
			wg(t, "set", server.iface, "peer", e.client.public, "preshared-key", psk, "allowed-ips", clientInside.hosts())
			greet := greeter(t, n.Lab)
			server.await("a handshake with the client that wg named again", func(s status) bool {
				greet()
				return shookHands(again)(s)
			})
			k.must("after the client was removed and named again")
			checkSet(t, server, e.client)
			waitForRekey(t, server, k)
		})
	}
}

// shookHands tells whether the first peer has shaken hands since a moment.
func shookHands(since time.Time) func(status) bool {
	return func(s status) bool {
		return len(s.Peers) > 0 && s.Peers[0].LastHandshake != nil && s.Peers[0].LastHandshake.After(since)
	}
}

// endpoint returns where a tunnel's first peer is.
func (s *side) endpoint() string {
	s.t.Helper()
	got := s.await("a peer with an endpoint", func(s status) bool { return len(s.Peers) > 0 && s.Peers[0].Endpoint != "" })
	return got.Peers[0].Endpoint
}

// outerAddr is what the server sees the client come from on an uplink.
func outerAddr(lab *natlab.Lab, spec natlab.Spec, uplink int) netip.Addr {
	switch {
	case spec.NATs[0].None:
		return lab.ClientAddr()
	case uplink == 0:
		return lab.ExternalAddr(len(spec.NATs) - 1)
	default:
		return lab.ElsewhereAddr()
	}
}

// seenAt tells whether an endpoint is at an address.
func seenAt(endpoint string, addr netip.Addr) bool {
	at, err := netip.ParseAddrPort(endpoint)
	return err == nil && at.Addr().Unmap() == addr
}

// checkShow looks at a tunnel of ours through wg show.
func checkShow(t *testing.T, ours *side, own, peer keyPair, endpoint string) {
	t.Helper()
	show := wg(t, "show", ours.iface)
	for _, want := range []string{"interface: " + ours.iface, "public key: " + own.public, "peer: " + peer.public,
		"endpoint: " + endpoint, "transfer: ", "latest handshake: "} {
		if !strings.Contains(show, want) {
			t.Errorf("wg show lacks %q:\n%s", want, show)
		}
	}
	if got := wgPeerOf(t, ours.iface); got.received == 0 || got.sent == 0 || got.handshake == 0 {
		t.Errorf("wg show says %+v after packets both ways", got)
	}
}

// checkSet changes a tunnel of ours through wg set, and back.
func checkSet(t *testing.T, ours *side, peer keyPair) {
	t.Helper()
	before := wgPeerOf(t, ours.iface).keepalive
	for _, seconds := range []int{7, before} {
		wg(t, "set", ours.iface, "peer", peer.public, "persistent-keepalive", strconv.Itoa(seconds))
		ours.await("the interval that wg has set", func(s status) bool {
			return len(s.Peers) == 1 && s.Peers[0].KeepaliveS == seconds
		})
		if got := wgPeerOf(t, ours.iface).keepalive; got != seconds {
			t.Errorf("wg shows %d s, want %d", got, seconds)
		}
	}
}

// waitForRekey waits for a handshake that WireGuard makes by itself, two minutes
// after the last one (REKEY-AFTER-TIME), and knocks all the while.
func waitForRekey(t *testing.T, ours *side, k knockers) {
	t.Helper()
	if os.Getenv(slowVariable) == "" {
		t.Logf("not waited for the handshake after 120 s: %s=1 does", slowVariable)
		return
	}
	s, _ := ours.status()
	last := *s.Peers[0].LastHandshake
	for end := last.Add(135 * time.Second); time.Now().Before(end); <-time.After(500 * time.Millisecond) {
		k.must("around the rekey")
	}
	if s, _ := ours.status(); !s.Peers[0].LastHandshake.After(last) {
		t.Error("no new handshake within 135 s")
	}
}
