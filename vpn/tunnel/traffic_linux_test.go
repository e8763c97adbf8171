package tunnel

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world is a client with our tunnel and a server with Debian's wireguard-go,
// joined by a wire.
type world struct {
	client, server *space
	name, peerName string // of the interfaces
	key, peerKey   wgKey
	runDir         string
}

// The addresses of the wire's ends.
const (
	clientOuter, serverOuter   = "192.0.2.1", "192.0.2.2"
	clientOuter6, serverOuter6 = "2001:db8:1::1", "2001:db8:1::2"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	needRoot(t, "wg", "wireguard-go", "ip")
	w := &world{
		client: newSpace(t), server: newSpace(t),
		name: interfaceName('a'), peerName: interfaceName('b'),
		key: newKey(t), peerKey: newKey(t),
		runDir: filepath.Join(t.TempDir(), "run"),
	}
	wire(t, w.client, "eth0", []string{clientOuter + "/24", clientOuter6 + "/64"},
		w.server, "eth0", []string{serverOuter + "/24", serverOuter6 + "/64"})
	w.client.ip("route add default via " + serverOuter)
	w.client.ip("-6 route add default via " + serverOuter6)
	t.Cleanup(func() {
		if _, err := os.Stat(socketPath(w.name)); err == nil {
			_ = os.Remove(socketPath(w.name))
			if !t.Failed() {
				t.Error("the socket is still there")
			}
		}
	})
	return w
}

// serve runs the server's side on port 51820.
func (w *world) serve(more string) {
	w.server.t.Helper()
	w.server.debianWireGuard(w.peerName, fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\n"+
		"[Peer]\nPublicKey = %s\nAllowedIPs = 10.7.0.1/32, fd07::1/128\n%s",
		w.peerKey.private, w.key.public, more), "10.7.0.2/24", "fd07::2/64")
	w.server.echo(netip.MustParseAddrPort("[::]:7"))
}

// up brings the client's side up with a file.
func (w *world) up(p *program, config string) answer {
	p.t.Helper()
	return p.must(w.order(p.t, config))
}

func (w *world) order(t *testing.T, config string) order {
	t.Helper()
	return order{Op: "up", File: writeConfig(t, w.name, config), RunDir: w.runDir,
		ResolvConf: filepath.Join(t.TempDir(), "resolv.conf"), DNS: stepResolvConf}
}

// config is the client's file: the interface's section with more lines, one peer.
func (w *world) config(more, peer string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.7.0.1/24, fd07::1/64\n%s\n"+
		"[Peer]\nPublicKey = %s\n%s\n", w.key.private, more, w.peerKey.public, peer)
}

// state is what Up must leave as it was: everything of the namespace that others
// could have set.
func (w *world) state() string {
	w.client.t.Helper()
	parts := []string{
		w.client.ip("-brief link"), w.client.ip("-4 rule"), w.client.ip("-6 rule"),
		w.client.ip("-4 route show table all"), w.client.ip("-6 route show table all"),
		"src_valid_mark " + w.client.readSysctl("ipv4/conf/all/src_valid_mark"),
	}
	if out, err := w.client.try("nft", "list", "ruleset"); err == nil {
		parts = append(parts, out)
	}
	return strings.Join(parts, "\n")
}

// down ends the tunnel and checks that nothing is left of it.
func (w *world) down(p *program, before string) {
	p.t.Helper()
	p.must(order{Op: "down"})
	w.nothingLeft(p.t, before)
}

func (w *world) nothingLeft(t *testing.T, before string) {
	t.Helper()
	if diff := cmp.Diff(before, w.state()); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
	if _, err := os.Stat(socketPath(w.name)); err == nil {
		t.Error("the socket is left behind")
	}
	left, err := filepath.Glob(filepath.Join(w.runDir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder of journals: %v %v", left, err)
	}
}

func TestTunnelAsClient(t *testing.T) {
	for _, outer := range []string{serverOuter, "[" + serverOuter6 + "]"} {
		t.Run(outer, func(t *testing.T) {
			w := newWorld(t)
			psk := newKey(t).private
			w.serve("PresharedKey = " + psk)
			before := w.state()
			p := w.client.startChild()
			w.up(p, w.config("", "PresharedKey = "+psk+"\nEndpoint = "+outer+":51820\n"+
				"AllowedIPs = 10.7.0.0/24, fd07::/64, 198.51.100.0/24\nPersistentKeepalive = 25"))

			if got := w.client.reaches("10.7.0.2:7"); got != "10.7.0.1" {
				t.Errorf("the server sees %s, want 10.7.0.1", got)
			}
			if got := w.client.reaches("[fd07::2]:7"); got != "fd07::1" {
				t.Errorf("the server sees %s, want fd07::1", got)
			}
			w.checkWG(t, p)
			if got := w.client.ip("route get 198.51.100.9"); !strings.Contains(got, "dev "+w.name) {
				t.Errorf("AllowedIPs are not routed: %s", got)
			}
			if strings.Contains(p.log.String(), w.key.private) || strings.Contains(p.log.String(), psk) {
				t.Error("a secret key is in the log")
			}
			w.down(p, before)
		})
	}
}

// checkWG looks at the tunnel through wg, changes it there, and sees it change.
func (w *world) checkWG(t *testing.T, p *program) {
	t.Helper()
	show := w.client.run("wg", "show", w.name)
	for _, want := range []string{w.key.public, w.peerKey.public, "persistent keepalive: every 25 seconds", "latest handshake"} {
		if !strings.Contains(show, want) {
			t.Errorf("wg show lacks %q:\n%s", want, show)
		}
	}
	peers := p.must(order{Op: "peers"}).Peers
	if len(peers) != 1 || peers[0].Key != w.peerKey.public || peers[0].Keepalive != 25*time.Second ||
		peers[0].LastHandshake.IsZero() || peers[0].ReceivedBytes == 0 || peers[0].SentBytes == 0 ||
		peers[0].Endpoint.Port() != 51820 {
		t.Errorf("peers: %+v", peers)
	}
	w.client.run("wg", "set", w.name, "peer", w.peerKey.public, "persistent-keepalive", "7")
	if got := p.must(order{Op: "peers"}).Peers[0].Keepalive; got != 7*time.Second {
		t.Errorf("after wg set the interval is %v, want 7s", got)
	}
	p.must(order{Op: "keepalive", Peer: w.peerKey.public, Seconds: 9})
	if got := w.client.run("wg", "show", w.name, "persistent-keepalive"); !strings.HasSuffix(got, "\t9") {
		t.Errorf("after SetKeepalive wg shows %q, want 9", got)
	}
	stranger := newKey(t)
	if a := p.tell(order{Op: "keepalive", Peer: stranger.public, Seconds: 9}); !strings.Contains(a.Error, "no peer") {
		t.Errorf("SetKeepalive of a stranger: %q", a.Error)
	}
}
