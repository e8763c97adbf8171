package natlab

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestMove takes a client to another network and back.
func TestMove(t *testing.T) {
	t.Parallel()
	for _, spec := range []Spec{
		{Name: "NAT", NATs: []NATSpec{{}}, Elsewhere: []NATSpec{{}}},
		{Name: "chain", NATs: []NATSpec{{}}, Elsewhere: []NATSpec{{}, {RandomPorts: true, Strict: true}}},
		{Name: "open at home", Elsewhere: []NATSpec{{}}},
		{Name: "firewall elsewhere", NATs: []NATSpec{{}, {}}, Elsewhere: []NATSpec{{None: true}, {None: true}}},
		{Name: "IPv6", Family: IPv6, NATs: []NATSpec{{None: true}}, Elsewhere: []NATSpec{{None: true}}},
		{Name: "IPv6 NAT", Family: IPv6, NATs: []NATSpec{{}}, Elsewhere: []NATSpec{{}}},
	} {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, spec)
			home := n.flow()
			home.roundTrip()
			gateway := n.gateway()
			homeAddr := n.ClientAddr()

			if err := n.Move(1); err != nil {
				t.Fatal(err)
			}
			if n.ClientAddr() == homeAddr {
				t.Errorf("the client has the address %v everywhere", homeAddr)
			}
			if elsewhere := n.gateway(); elsewhere == gateway {
				t.Errorf("the gateway is %v everywhere", gateway)
			}
			// IPv6 sends from addresses that are gone.
			if spec.Family != IPv6 {
				if _, err := home.conn.WriteTo([]byte("x"), n.server.LocalAddr()); err == nil {
					t.Error("sending from an address that the client has no more gave no error")
				}
			}
			away := n.flow()
			away.roundTrip()
			want := n.ElsewhereAddr()
			if spec.Elsewhere[0].None {
				want = n.ClientAddr()
			}
			if got := address(away.external); got != want {
				t.Errorf("the server sees %v, want %v", got, want)
			}
			// As DHCP does, after a cable was pulled there.
			if err := n.SetLink(false); err != nil {
				t.Fatal(err)
			}
			if err := n.SetLink(true); err != nil {
				t.Fatal(err)
			}
			away.roundTrip()

			for range 2 { // the second time it is there already
				if err := n.Move(0); err != nil {
					t.Fatal(err)
				}
			}
			if n.ClientAddr() != homeAddr || n.gateway() != gateway {
				t.Errorf("back home the client is %v behind %v, want %v behind %v", n.ClientAddr(), n.gateway(), homeAddr, gateway)
			}
			// The old mapping is still there, and the old socket works again.
			if !home.reaches() {
				t.Error("the mapping at home was lost by going elsewhere")
			}
			home.roundTrip()
		})
	}
}

// TestMoveTimers checks that each uplink has its own boxes with their timers,
// and that the mappings of both go on to age while the client is away.
func TestMoveTimers(t *testing.T) {
	t.Parallel()
	spec := Spec{NATs: []NATSpec{{}}, Elsewhere: []NATSpec{shortBox}}
	n := openNetwork(t, spec)
	if err := n.Move(1); err != nil {
		t.Fatal(err)
	}
	n.control = n.flow()
	away := Spec{NATs: spec.Elsewhere}.Truth().Solitary
	for _, gap := range []time.Duration{away - 100*time.Millisecond, away + 100*time.Millisecond} {
		checkLifetime(n, away, gap, func(f *flow) { f.request() })
	}
	f := n.flow()
	f.request()
	if err := n.Move(0); err != nil {
		t.Fatal(err)
	}
	wait(t, time.Until(f.after.Add(away+100*time.Millisecond)))
	if err := n.Move(1); err != nil {
		t.Fatal(err)
	}
	if f.reaches() {
		t.Error("the mapping elsewhere didn't age while the client was away")
	}
}

// TestMoveLoss checks that loss is on both uplinks.
func TestMoveLoss(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}, Elsewhere: []NATSpec{{}}})
	for i := range 2 {
		if err := n.Move(i); err != nil {
			t.Fatal(err)
		}
		f := n.flow()
		f.roundTrip()
		if err := n.SetLoss(1, 0); err != nil {
			t.Fatal(err)
		}
		f.send()
		if got := drain(t, n.server); got != 0 {
			t.Errorf("uplink %d: %d packets came out in spite of the loss", i, got)
		}
		if err := n.SetLoss(0, 1); err != nil {
			t.Fatal(err)
		}
		n.reply(f.external)
		if got := drain(t, f.conn); got != 0 {
			t.Errorf("uplink %d: %d packets came in in spite of the loss", i, got)
		}
		if err := n.SetLoss(0, 0); err != nil {
			t.Fatal(err)
		}
		f.roundTrip()
	}
}

// TestWildcardServer checks that a server that listens on all addresses answers
// from the one that the client knows, from wherever it asks.
func TestWildcardServer(t *testing.T) {
	t.Parallel()
	for _, spec := range []Spec{
		{Name: "IPv4", Elsewhere: []NATSpec{{}}},
		{Name: "IPv4 firewalls", Elsewhere: []NATSpec{{None: true}, {None: true}}},
		{Name: "IPv6", Family: IPv6, NATs: []NATSpec{{None: true}}, Elsewhere: []NATSpec{{None: true}}},
	} {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, spec)
			everywhere, err := n.ServerListen(context.Background(), "udp", ":0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = everywhere.Close() })
			for i := range 2 {
				if err := n.Move(i); err != nil {
					t.Fatal(err)
				}
				f := n.flow()
				to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.ServerAddr(), port(everywhere.LocalAddr())))
				if _, err := f.conn.WriteTo([]byte("x"), to); err != nil {
					t.Fatal(err)
				}
				from := n.receive(everywhere)
				if _, err := everywhere.WriteTo([]byte("y"), from); err != nil {
					t.Fatal(err)
				}
				if got := address(n.receive(f.conn)); got != n.ServerAddr() {
					t.Errorf("uplink %d: the answer came from %v, want %v", i, got, n.ServerAddr())
				}
			}
		})
	}
}

func TestNoElsewhere(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}})
	if err := n.Move(0); err != nil {
		t.Errorf("Move to where it is: %v", err)
	}
	for _, i := range []int{-1, 1, 2} {
		if n.Move(i) == nil {
			t.Errorf("Move(%d) worked without an uplink", i)
		}
	}
	if got := n.ElsewhereAddr(); got.IsValid() {
		t.Errorf("ElsewhereAddr = %v without an elsewhere", got)
	}
	n.control.roundTrip()
}

// gateway returns the hardware address of the client's default router.
func (n *network) gateway() string {
	n.t.Helper()
	var mac string
	n.inside(0, func() error {
		routes, err := netlink.RouteGet(n.ServerAddr().AsSlice())
		if err != nil {
			return err
		}
		next := routes[0].Gw
		if next == nil { // no box between them
			next = n.ServerAddr().AsSlice()
		}
		neighbours, err := netlink.NeighList(routes[0].LinkIndex, 0)
		for _, neighbour := range neighbours {
			if neighbour.IP.Equal(next) {
				mac = neighbour.HardwareAddr.String()
			}
		}
		return err
	})
	return mac
}
