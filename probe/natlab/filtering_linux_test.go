package natlab

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestFiltering checks from where a client's sockets hear, behind boxes with each
// kind of filtering and behind several of them.
func TestFiltering(t *testing.T) {
	t.Parallel()
	half, open := NATSpec{Filtering: AddressDependent}, NATSpec{Filtering: EndpointIndependent}
	pool := half
	pool.Addresses = 4
	halfWall, openWall := half, open
	halfWall.None, openWall.None = true, true
	for _, test := range []struct {
		name string
		spec Spec
		want Filtering
	}{
		{"NAT", Spec{NATs: []NATSpec{{}}}, ""},
		{"address-dependent NAT", Spec{NATs: []NATSpec{half}}, AddressDependent},
		{"address-dependent NAT with a pool", Spec{NATs: []NATSpec{pool}}, AddressDependent},
		{"endpoint-independent NAT", Spec{NATs: []NATSpec{open}}, EndpointIndependent},
		{"firewall", Spec{NATs: []NATSpec{{None: true}}}, ""},
		{"address-dependent firewall", Spec{NATs: []NATSpec{halfWall}}, AddressDependent},
		{"endpoint-independent firewall", Spec{NATs: []NATSpec{openWall}}, EndpointIndependent},
		{"IPv6 firewall", Spec{Family: IPv6, NATs: []NATSpec{{None: true}}}, ""},
		{"address-dependent IPv6 firewall", Spec{Family: IPv6, NATs: []NATSpec{halfWall}}, AddressDependent},
		{"endpoint-independent IPv6 firewall", Spec{Family: IPv6, NATs: []NATSpec{openWall}}, EndpointIndependent},
		{"address-dependent IPv6 NAT", Spec{Family: IPv6, NATs: []NATSpec{half}}, AddressDependent},
		{"endpoint-independent IPv6 NAT", Spec{Family: IPv6, NATs: []NATSpec{open}}, EndpointIndependent},
		{"a closed one outside", Spec{NATs: []NATSpec{open, {}}}, ""},
		{"a closed one inside", Spec{NATs: []NATSpec{{}, open}}, ""},
		{"random ports inside", Spec{NATs: []NATSpec{{RandomPorts: true}, half}}, ""},
		{"two NATs", Spec{NATs: []NATSpec{half, open}}, AddressDependent},
		{"NAT outside of a firewall", Spec{NATs: []NATSpec{open, halfWall, open}}, AddressDependent},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, test.spec)
			alternate := n.alternate()
			otherPort, otherAddr := n.listen(n.ServerListen, n.ServerAddr()), n.listen(n.ServerListen, alternate)
			third := n.listen(n.ServerListen, alternate)
			asked, beside, quiet := n.flow(), n.flow(), n.flow()
			asked.roundTrip()
			n.at(otherAddr, beside.roundTrip)
			quiet.external = net.UDPAddrFromAddrPort(netip.AddrPortFrom(address(asked.external), quiet.localPort()))
			for _, row := range []struct {
				says string
				flow *flow
				from net.PacketConn
				want bool
			}{
				{"whom it asked", asked, n.server, true},
				{"another port of that address", asked, otherPort, test.want != ""},
				{"an address that another socket asked", asked, otherAddr, test.want == EndpointIndependent},
				{"somebody without having asked", quiet, n.server, test.want == EndpointIndependent},
			} {
				if got := row.flow.hears(row.from); got != row.want {
					t.Errorf("the client hears %s: %v, want %v", row.says, got, row.want)
				}
			}
			// A packet that was kept out leaves nothing in the way of a flow
			// to where it came from.
			before := port(asked.external)
			n.at(otherAddr, asked.roundTrip)
			if now := port(asked.external); now != before && test.want != "" {
				t.Errorf("the mapping moved from port %d to %d", before, now)
			}
			if got, want := asked.hears(third), test.want != ""; got != want {
				t.Errorf("the client hears another port of an address that it asked later: %v, want %v", got, want)
			}
		})
	}
}

// TestFilteringTimers checks for how long boxes let in what belongs to no flow
// any more.
func TestFilteringTimers(t *testing.T) {
	t.Parallel()
	half, open := shortBox, shortBox
	half.Filtering, open.Filtering = AddressDependent, EndpointIndependent
	wall := half
	wall.None = true
	for _, test := range []struct {
		name string
		spec Spec
	}{
		{"NAT", Spec{NATs: []NATSpec{half}}},
		{"IPv6 firewall", Spec{Family: IPv6, NATs: []NATSpec{wall}}},
		{"behind a NAT that lets all in", Spec{NATs: []NATSpec{half, open}}},
	} {
		want := test.spec.Truth().Solitary
		for _, gap := range []time.Duration{want - 100*time.Millisecond, want + 100*time.Millisecond} {
			t.Run(fmt.Sprintf("%s at %v", test.name, gap), func(t *testing.T) {
				t.Parallel()
				n := openNetwork(t, test.spec)
				checkLifetime(n, want, gap, func(f *flow) {
					f.request()
					wait(t, time.Second)
					f.request() // which renews it
				})
			})
		}
	}
	t.Run("endpoint-independent", func(t *testing.T) {
		t.Parallel()
		n := openNetwork(t, Spec{NATs: []NATSpec{open}})
		f := n.flow()
		f.request()
		wait(t, shortBox.Stream+100*time.Millisecond)
		if !f.reaches() {
			t.Error("a mapping expired, want one that a packet from outside makes anew")
		}
	})
}

// TestFilteringFlush checks that a box which forgets its mappings forgets whom it
// lets in.
func TestFilteringFlush(t *testing.T) {
	t.Parallel()
	for _, filtering := range []Filtering{AddressDependent, EndpointIndependent} {
		t.Run(string(filtering), func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, Spec{NATs: []NATSpec{{Filtering: filtering}}})
			f := n.flow()
			f.roundTrip()
			if err := n.FlushConntrack(0); err != nil {
				t.Fatal(err)
			}
			if got, want := f.reaches(), filtering == EndpointIndependent; got != want {
				t.Errorf("the client is reached after its box forgot all: %v, want %v", got, want)
			}
			f.roundTrip()
		})
	}
}

// alternate gives the server one more address and returns it.
func (n *network) alternate() netip.Addr {
	n.t.Helper()
	link := n.kernel().uplinks[usual].last()
	addr := link.outer
	for range maxAddresses + 1 { // beyond those of a pool
		addr = addr.Next()
	}
	n.inside(len(n.spec.NATs)+1, func() error {
		if err := alias(hostLink(usual), netip.PrefixFrom(addr, link.prefix.Bits())); err != nil {
			return err
		}
		return awaitReady(n.t.Context(), hostLink(usual), addr)
	})
	return addr
}

// at has flows talk to another of the server's sockets while fn runs.
func (n *network) at(server net.PacketConn, fn func()) {
	first := n.server
	n.server = server
	fn()
	n.server = first
}
