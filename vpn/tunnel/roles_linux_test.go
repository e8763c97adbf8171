package tunnel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestTunnelAsServer: our tunnel waits for two of Debian's, answers both, and
// passes packets from one to the other.
func TestTunnelAsServer(t *testing.T) {
	w := newWorld(t)
	second, secondKey, psk := newSpace(t), newKey(t), newKey(t).private
	wire(t, w.client, "eth1", []string{"203.0.113.1/24"}, second, "eth0", []string{"203.0.113.2/24"})
	w.client.sysctl("ipv4/ip_forward", "1")
	before := w.state()
	p := w.client.startChild()
	w.up(p, fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.7.0.1/24\nListenPort = 51821\n"+
		"[Peer]\nPublicKey = %s\nAllowedIPs = 10.7.0.2/32\n"+
		"[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.7.0.3/32\n",
		w.key.private, w.peerKey.public, secondKey.public, psk))
	w.client.echo(netip.MustParseAddrPort("10.7.0.1:7"))

	peer := "[Interface]\nPrivateKey = %s\n[Peer]\nPublicKey = %s\nEndpoint = %s:51821\nAllowedIPs = 10.7.0.0/24\nPersistentKeepalive = 25\n%s"
	w.server.debianWireGuard(w.peerName, fmt.Sprintf(peer, w.peerKey.private, w.key.public, clientOuter, ""), "10.7.0.2/24")
	second.debianWireGuard(interfaceName('c'),
		fmt.Sprintf(peer, secondKey.private, w.key.public, "203.0.113.1", "PresharedKey = "+psk), "10.7.0.3/24")
	second.echo(netip.MustParseAddrPort("10.7.0.3:7"))

	if got := w.server.reaches("10.7.0.1:7"); got != "10.7.0.2" {
		t.Errorf("the first peer looks like %s", got)
	}
	if got := second.reaches("10.7.0.1:7"); got != "10.7.0.3" {
		t.Errorf("the second peer looks like %s", got)
	}
	if got := w.server.reaches("10.7.0.3:7"); got != "10.7.0.2" {
		t.Errorf("to the second peer the first looks like %s", got)
	}
	endpoints := w.client.run("wg", "show", w.name, "endpoints")
	for _, want := range []string{w.peerKey.public + "\t" + serverOuter + ":", secondKey.public + "\t203.0.113.2:"} {
		if !strings.Contains(endpoints, want) {
			t.Errorf("wg show endpoints lacks %q:\n%s", want, endpoints)
		}
	}
	for _, secret := range []string{serverOuter, "203.0.113.2", psk, w.key.private} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log has %s, which it should not", secret)
		}
	}
	w.down(p, before)
}

// TestRehome: the client gets another address, on a bind that the device doesn't
// watch routes for, and later the server's name another one, too.
func TestRehome(t *testing.T) {
	w := newWorld(t)
	w.serve("")
	w.server.ip("addr add 192.0.2.3/24 dev eth0")
	p := w.client.startChild()
	o := w.order(t, w.config("", "Endpoint = vpn.example:51820\nAllowedIPs = 10.7.0.0/24"))
	o.Hosts, o.WrapBind = map[string]string{"vpn.example": serverOuter}, true
	p.must(o)
	w.client.reaches("10.7.0.2:7")

	w.client.ip("addr del " + clientOuter + "/24 dev eth0")
	w.client.ip("addr add 192.0.2.9/24 dev eth0")
	// An endpoint that is set anew has no source address yet. (wireguard-go of
	// 2026 loses the source of packets that it receives with UDP GRO, so on most
	// kernels the traffic alone would not tell.)
	if a := p.must(order{Op: "rehome"}); a.Endpoints != 1 {
		t.Errorf("Rehome set %d endpoints, want 1", a.Endpoints)
	}
	w.client.reaches("10.7.0.2:7")
	if got := w.server.run("wg", "show", w.peerName, "endpoints"); !strings.Contains(got, "192.0.2.9:") {
		t.Errorf("the server sees the client at %s, want 192.0.2.9", got)
	}

	p.must(order{Op: "rehome", Hosts: map[string]string{"vpn.example": "192.0.2.3"}})
	if got := p.must(order{Op: "peers"}).Peers[0].Endpoint.String(); got != "192.0.2.3:51820" {
		t.Errorf("endpoint %s, want the name's new address", got)
	}
	w.client.reaches("10.7.0.2:7")

	a := p.tell(order{Op: "rehome", Hosts: map[string]string{"other.example": "192.0.2.3"}})
	if !strings.Contains(a.Error, "vpn.example") {
		t.Errorf("Rehome where the name is gone: %q", a.Error)
	}
	w.client.reaches("10.7.0.2:7")
	p.must(order{Op: "down"})
}

func TestMTU(t *testing.T) {
	for file, want := range map[string]string{"": "mtu 1320", "MTU = 1300": "mtu 1300"} {
		w := newWorld(t)
		w.client.ip("link set eth0 mtu 1400")
		p := w.client.startChild()
		w.up(p, w.config(file, "Endpoint = "+serverOuter+":51820\nAllowedIPs = 10.8.0.0/16"))
		if got := w.client.ip("link show " + w.name); !strings.Contains(got, want+" ") {
			t.Errorf("%q: want %s, got %s", file, want, got)
		}
		p.must(order{Op: "down"})
	}
}

func TestWarnsOfLoop(t *testing.T) {
	w := newWorld(t)
	p := w.client.startChild()
	w.up(p, w.config("", "Endpoint = 203.0.113.9:51820\nAllowedIPs = 128.0.0.0/1"))
	if !strings.Contains(p.log.String(), "go into the tunnel itself") {
		t.Error("no warning of packets for the peer that go into the tunnel itself")
	}
	p.must(order{Op: "down"})
}
