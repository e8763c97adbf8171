package tunnel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Addresses of the server that the client reaches by its default routes only.
const (
	farOuter, farOuter6 = "198.51.100.8", "2001:db8:2::8" // for WireGuard
	farHost, farHost6   = "198.51.100.7", "2001:db8:2::7" // for anything else
)

// serveInternet is serve where the server is also everything behind itself.
func (w *world) serveInternet() {
	w.server.t.Helper()
	for _, a := range []string{farOuter, farHost} {
		w.server.ip("addr add " + a + "/32 dev lo")
	}
	for _, a := range []string{farOuter6, farHost6} {
		w.server.ip("addr add " + a + "/128 dev lo nodad")
	}
	w.serve("")
}

func TestDefaultRoute(t *testing.T) {
	for _, outer := range []string{farOuter, "[" + farOuter6 + "]"} {
		t.Run(outer, func(t *testing.T) { testDefaultRoute(t, outer) })
	}
}

func testDefaultRoute(t *testing.T, outer string) {
	w := newWorld(t)
	w.serveInternet()
	// The strictest of reverse path filters: replies of the server come in by
	// the wire, whereas the route to it, for packets without a mark, goes through
	// the tunnel.
	w.client.sysctl("ipv4/conf/all/rp_filter", "1")
	w.client.sysctl("ipv4/conf/eth0/rp_filter", "1")
	before := w.state()
	if got := w.client.reaches(farHost + ":7"); got != clientOuter {
		t.Fatalf("without a tunnel the server sees %s, want %s", got, clientOuter)
	}
	p := w.client.startChild()
	a := w.up(p, w.config("", "Endpoint = "+outer+":51820\nAllowedIPs = 0.0.0.0/0, ::/0"))
	if a.Mark != firstMark {
		t.Errorf("mark %d, want %d", a.Mark, firstMark)
	}
	if got := w.client.run("wg", "show", w.name, "fwmark"); got != "0xca6c" {
		t.Errorf("wg shows the mark %s, want 0xca6c", got)
	}
	for to, want := range map[string]string{
		farHost + ":7":             "10.7.0.1",
		"[" + farHost6 + "]:7":     "fd07::1",
		"10.7.0.2:7":               "10.7.0.1",
		serverOuter + ":7":         clientOuter, // the wire's own network is better than a default route
		"[" + serverOuter6 + "]:7": clientOuter6,
	} {
		if got := w.client.reaches(to); got != want {
			t.Errorf("from %s the client looks like %s, want %s", to, got, want)
		}
	}
	if got := w.client.readSysctl("ipv4/conf/all/src_valid_mark"); got != "1" {
		t.Errorf("src_valid_mark is %s, want 1", got)
	}
	w.down(p, before)
	if got := w.client.reaches(farHost + ":7"); got != clientOuter {
		t.Errorf("after the tunnel the server sees %s, want %s", got, clientOuter)
	}
}

func TestDefaultRouteKeepsStrangersOut(t *testing.T) {
	w := newWorld(t)
	w.serveInternet()
	neighbour := newSpace(t)
	wire(t, w.client, "eth1", []string{"203.0.113.1/24", "2001:db8:3::1/64"},
		neighbour, "eth0", []string{"203.0.113.2/24", "2001:db8:3::2/64"})
	neighbour.ip("route add default via 203.0.113.1")
	neighbour.ip("-6 route add default via 2001:db8:3::1")
	w.client.echo(netip.MustParseAddrPort("[::]:7"))

	p := w.client.startChild()
	w.up(p, w.config("", "Endpoint = "+serverOuter+":51820\nAllowedIPs = 0.0.0.0/0, ::/0"))
	w.client.reaches(farHost + ":7")
	neighbour.reaches("203.0.113.1:7")
	neighbour.reaches("[2001:db8:3::1]:7")
	w.client.reaches("10.7.0.1:7") // by loopback
	w.server.reaches("10.7.0.1:7") // by the tunnel
	w.server.reaches("[fd07::1]:7")
	for _, to := range []string{"10.7.0.1:7", "[fd07::1]:7"} {
		if from, err := neighbour.ask(netip.MustParseAddrPort(to), 700*time.Millisecond); err == nil {
			t.Errorf("the neighbour reaches the tunnel's address %s, as %s", to, from)
		}
	}
	p.must(order{Op: "down"})
}

// TestDefaultRouteMark: the file's own mark is kept, and chosen ones differ from
// what is in use.
func TestDefaultRouteMark(t *testing.T) {
	w := newWorld(t)
	w.serveInternet()
	peer := "Endpoint = " + serverOuter + ":51820\nAllowedIPs = 0.0.0.0/0"
	w.client.ip("route add 198.51.100.0/24 via " + serverOuter + " table 51820")
	w.client.ip("rule add fwmark 51821 lookup main")
	before := w.state()
	for _, test := range []struct {
		file string
		want uint32
	}{{"", 51822}, {"FwMark = 0x1234", 0x1234}} {
		p := w.client.startChild()
		if a := w.up(p, w.config(test.file, peer)); a.Mark != test.want {
			t.Errorf("%q: mark %d, want %d", test.file, a.Mark, test.want)
		}
		if got := w.client.reaches(farHost + ":7"); got != "10.7.0.1" {
			t.Errorf("the server sees %s, want 10.7.0.1", got)
		}
		if got := w.client.reaches("[" + farHost6 + "]:7"); got != clientOuter6 {
			t.Errorf("IPv6 has no default route in the file, but the server sees %s", got)
		}
		if got, _ := w.client.try("ip", "-6", "rule", "show", "table", fmt.Sprint(test.want)); got != "" {
			t.Errorf("a rule for IPv6, which has no default route: %s", got)
		}
		w.down(p, before)
	}
}

// TestDefaultRoutesInTurn: two tunnels have default routes, and the one that came
// first goes first. The other keeps all that it needs.
func TestDefaultRoutesInTurn(t *testing.T) {
	w := newWorld(t)
	w.serveInternet()
	before := w.state()
	config := w.config("", "Endpoint = "+serverOuter+":51820\nAllowedIPs = 0.0.0.0/0")
	first := w.client.startChild()
	o := w.order(t, config)
	o.File = writeConfig(t, interfaceName('c'), strings.Replace(config, "10.7.0.1/24, fd07::1/64", "10.9.0.1/32", 1))
	first.must(o)
	second := w.client.startChild()
	if a := w.up(second, config); a.Mark != firstMark+1 {
		t.Errorf("the second tunnel's mark is %d, want %d", a.Mark, firstMark+1)
	}
	first.must(order{Op: "down"})
	if got := w.client.reaches(farHost + ":7"); got != "10.7.0.1" {
		t.Errorf("the server sees %s, want 10.7.0.1", got)
	}
	if got := w.client.reaches(serverOuter + ":7"); got != clientOuter {
		t.Errorf("the wire's own network is not reached directly any more, but as %s", got)
	}
	if got := w.client.readSysctl("ipv4/conf/all/src_valid_mark"); got != "1" {
		t.Errorf("src_valid_mark is %s while a tunnel needs 1", got)
	}
	w.down(second, before)
}

func TestTableOff(t *testing.T) {
	w := newWorld(t)
	w.serveInternet()
	p := w.client.startChild()
	before := w.state()
	w.up(p, w.config("Table = off", "Endpoint = "+serverOuter+":51820\nAllowedIPs = 0.0.0.0/0, ::/0"))
	if got := w.client.ip("route get 198.51.100.7"); !strings.Contains(got, "dev eth0") {
		t.Errorf("Table is off, but the route is: %s", got)
	}
	w.client.reaches("10.7.0.2:7") // by the network of the address
	w.down(p, before)
}

func TestTableNumber(t *testing.T) {
	w := newWorld(t)
	w.serveInternet()
	p := w.client.startChild()
	before := w.state()
	w.up(p, w.config("Table = 1234", "Endpoint = "+serverOuter+":51820\nAllowedIPs = 0.0.0.0/0, ::/0, 10.7.0.0/24"))
	want := "default dev " + w.name + " scope link \n10.7.0.0/24 dev " + w.name + " scope link"
	if diff := cmp.Diff(want, w.client.ip("-4 route show table 1234")); diff != "" {
		t.Errorf("table 1234 (-want +got):\n%s", diff)
	}
	if got := w.client.ip("-6 route show table 1234"); !strings.HasPrefix(got, "default dev "+w.name) {
		t.Errorf("IPv6's table 1234: %s", got)
	}
	if got := w.client.ip("route get 198.51.100.7"); !strings.Contains(got, "dev eth0") {
		t.Errorf("nobody looks up table 1234, but the route is: %s", got)
	}
	w.down(p, before)
}
