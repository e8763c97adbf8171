package natlab

import (
	"net/netip"
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
