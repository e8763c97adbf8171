package natlab

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestPorts checks both ways to allocate external ports.
func TestPorts(t *testing.T) {
	t.Parallel()
	const flows = 20
	for _, test := range []struct {
		name   string
		random bool
	}{{"preserved", false}, {"random", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, Spec{NATs: []NATSpec{{RandomPorts: test.random}}})
			same := 0
			for range flows {
				f := n.flow()
				f.roundTrip()
				if got, want := address(f.external), n.ExternalAddr(0); got != want {
					t.Errorf("the server sees %v, want the NAT's address %v", got, want)
				}
				if port(f.external) == f.localPort() {
					same++
				}
				first := f.external
				f.request()
				if first.String() != f.external.String() {
					t.Errorf("the mapping moved from %v to %v", first, f.external)
				}
			}
			// Each random port is right by chance once in some 64,000 times.
			if want := map[bool]int{false: flows, true: 0}[test.random]; same != want && (!test.random || same > 1) {
				t.Errorf("%d of %d flows kept their port, want %d", same, flows, want)
			}
		})
	}
}

// TestCGN checks that each NAT of a chain translates once.
func TestCGN(t *testing.T) {
	t.Parallel()
	spec, err := Find("cgn")
	if err != nil {
		t.Fatal(err)
	}
	n := openNetwork(t, spec)
	f := n.flow()
	f.roundTrip()
	type translation struct{ From, To netip.Addr }
	var got []translation
	for i := range spec.NATs {
		n.inside(i+1, func() error {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			for _, flow := range flows {
				if flow.Forward.SrcPort != f.localPort() {
					continue
				}
				from, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
				to, _ := netip.AddrFromSlice(flow.Reverse.DstIP)
				got = append(got, translation{from.Unmap(), to.Unmap()})
			}
			return err
		})
	}
	want := []translation{{n.ClientAddr(), n.ExternalAddr(0)}, {n.ExternalAddr(0), n.ExternalAddr(1)}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("translations (-want +got):\n%s", diff)
	}
	if got, want := address(f.external), n.ExternalAddr(1); got != want {
		t.Errorf("the server sees %v, want the outer NAT's address %v", got, want)
	}
}

// TestDeadMapping checks what a packet to an expired mapping does to the next
// one from inside: where the box takes the packet for itself, its state holds
// the port, and the client's flow moves to another.
func TestDeadMapping(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		strict bool
	}{{"accepted", false}, {"strict", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, Spec{NATs: []NATSpec{{Solitary: shortBox.Solitary, Strict: test.strict}}})
			f := n.flow()
			f.request()
			wait(t, shortBox.Solitary+100*time.Millisecond)
			if f.reaches() {
				t.Fatal("the mapping is still alive")
			}
			f.roundTrip()
			if kept := port(f.external) == f.localPort(); kept != test.strict {
				t.Errorf("port kept: %v, want %v", kept, test.strict)
			}
		})
	}
}

// TestFirewall checks that a firewall doesn't translate and keeps strangers
// out, IPv6 included.
func TestFirewall(t *testing.T) {
	t.Parallel()
	for _, family := range []Family{IPv4, IPv6} {
		t.Run(string(family), func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, Spec{Family: family, NATs: []NATSpec{{None: true}}})
			f := n.flow()
			f.roundTrip()
			if got, want := f.external.String(), f.conn.LocalAddr().String(); got != want {
				t.Errorf("the server sees %v, want the client's own %v", got, want)
			}
			stranger := n.flow()
			stranger.external = stranger.conn.LocalAddr()
			if stranger.reaches() {
				t.Error("a packet that the client didn't ask for came in")
			}
		})
	}
}

// TestPortBlock checks a box with few ports for its client: they are its own,
// and none is given twice towards the same remote endpoint.
func TestPortBlock(t *testing.T) {
	t.Parallel()
	const ports = 8
	for _, test := range []struct {
		name string
		spec Spec
	}{
		{"NAT", Spec{NATs: []NATSpec{{Ports: ports}}}},
		{"random", Spec{NATs: []NATSpec{{Ports: ports, RandomPorts: true}}}},
		{"CGN", Spec{NATs: []NATSpec{{}, {Ports: ports}}}},
		{"IPv6", Spec{Family: IPv6, NATs: []NATSpec{{Ports: ports}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, test.spec)
			seen := map[uint16]bool{}
			for range ports {
				f := n.flow()
				f.roundTrip()
				external := port(f.external)
				if external < firstPort || external >= firstPort+ports || seen[external] {
					t.Errorf("external port %d is outside of the block or was given before", external)
				}
				seen[external] = true
			}
			f := n.flow()
			f.send()
			if got := drain(t, n.server); got != 0 {
				t.Errorf("%d packets came out on a flow more than there are ports", got)
			}
			// Another remote endpoint has all ports again.
			first := n.server
			n.server = n.listen(n.ServerListen, n.ServerAddr())
			f.roundTrip()
			n.server = first
			if err := n.FlushConntrack(len(test.spec.NATs) - 1); err != nil {
				t.Fatal(err)
			}
			f.roundTrip()
		})
	}
}

// TestPool checks a box with several external addresses.
func TestPool(t *testing.T) {
	t.Parallel()
	const flows, addresses = 40, 4
	for _, test := range []struct {
		name string
		spec Spec
	}{
		{"NAT", Spec{NATs: []NATSpec{{Addresses: addresses}}}},
		{"CGN", Spec{NATs: []NATSpec{{}, {Addresses: addresses, Ports: 100}}}},
		{"inner box", Spec{NATs: []NATSpec{{Addresses: addresses}, {None: true}}}},
		{"IPv6", Spec{Family: IPv6, NATs: []NATSpec{{Addresses: addresses}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, test.spec)
			box := slices.IndexFunc(test.spec.NATs, func(s NATSpec) bool { return s.Addresses > 0 })
			want := n.ExternalAddrs(box)
			if len(want) != addresses {
				t.Fatalf("the box has the addresses %v, want %d", want, addresses)
			}
			seen := map[netip.Addr]int{}
			for range flows {
				f := n.flow()
				f.roundTrip()
				seen[address(f.external)]++
				first := f.external
				f.roundTrip()
				if f.external.String() != first.String() {
					t.Errorf("the mapping moved from %v to %v", first, f.external)
				}
			}
			for addr := range seen {
				if !slices.Contains(want, addr) {
					t.Errorf("the server saw %v, which is none of %v", addr, want)
				}
			}
			// By chance one address is left out less than once in 10,000 times.
			if len(seen) < addresses-1 {
				t.Errorf("%d flows had the addresses %v, want all of %v", flows, seen, want)
			}
		})
	}
}
