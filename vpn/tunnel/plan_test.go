package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/natprobe/natprobe/vpn"
)

// parse reads a file whose Interface section has these lines, and whose peers
// have these AllowedIPs.
func parse(t *testing.T, lines string, allowed ...string) *vpn.Config {
	t.Helper()
	text := "[Interface]\nPrivateKey = 6AgToMR5uGNvJSkXKUvPyuZVHRW8mI8Kmr/bVY8GJG8=\n" + lines + "\n"
	keys := []string{"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="}
	for i, a := range allowed {
		text += "[Peer]\nPublicKey = " + keys[i] + "\nAllowedIPs = " + a + "\n"
	}
	c, err := vpn.Parse(strings.NewReader(text), "wg0.conf")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func routes(table uint32, list ...string) []route {
	var out []route
	for _, p := range prefixes(list...) {
		out = append(out, route{p, table})
	}
	return out
}

func TestMakePlan(t *testing.T) {
	around := surroundings{Taken: map[uint32]bool{254: true, 51820: true}, FirstRule: [2]int{32766, 5210}}
	rules4 := []rule{
		{Priority: 32764, Table: 254, NoDefault: true},
		{Priority: 32765, Mark: 51821, Table: 51821},
	}
	rules6 := []rule{
		{IPv6: true, Priority: 5208, Table: 254, NoDefault: true},
		{IPv6: true, Priority: 5209, Mark: 51821, Table: 51821},
	}
	guard4 := guard{Addresses: []netip.Addr{netip.MustParseAddr("10.7.0.1")}}
	guard6 := guard{IPv6: true, Addresses: []netip.Addr{netip.MustParseAddr("fd07::1")}}
	addresses := prefixes("10.7.0.1/24", "fd07::1/64")
	const both = "Address = 10.7.0.1/24, fd07::1/64"
	tests := []struct {
		name    string
		lines   string
		allowed []string
		want    plan
	}{
		{"nothing", "", nil, plan{}},
		{"longest first, each once, none that is connected", both,
			[]string{"10.0.0.0/8, 10.7.0.0/24, 10.7.0.9/32, 192.168.0.0/16", "10.8.1.0/24, 10.0.0.0/8, fd07::/64, fd07::/48"},
			plan{Addresses: addresses, Routes: append(append(routes(254, "fd07::/48"), routes(254, "10.8.1.0/24")...),
				routes(254, "192.168.0.0/16", "10.0.0.0/8")...)}},
		{"mark without a default route", "FwMark = 7", []string{"10.8.0.0/16"}, plan{Mark: 7, Routes: routes(254, "10.8.0.0/16")}},
		{"table off", both + "\nTable = off\nFwMark = 7", []string{"0.0.0.0/0, 10.8.0.0/16"}, plan{Mark: 7, Addresses: addresses}},
		{"table of its own", both + "\nTable = 99", []string{"0.0.0.0/0, 10.7.0.0/24"},
			plan{Addresses: addresses, Routes: routes(99, "10.7.0.0/24", "0.0.0.0/0")}},
		{"default route", both, []string{"0.0.0.0/0, 10.8.0.0/16"},
			plan{Mark: 51821, Addresses: addresses, Routes: append(routes(254, "10.8.0.0/16"), routes(51821, "0.0.0.0/0")...),
				Rules: rules4, Guarded: []guard{guard4}}},
		{"both default routes", both, []string{"0.0.0.0/0", "::/0"},
			plan{Mark: 51821, Addresses: addresses, Routes: routes(51821, "0.0.0.0/0", "::/0"),
				Rules: append(append([]rule{}, rules4...), rules6...), Guarded: []guard{guard4, guard6}}},
		{"IPv6's with a mark of the file", both + "\nFwMark = 51820", []string{"::/0"},
			plan{Mark: 51820, Addresses: addresses, Routes: routes(51820, "::/0"),
				Rules: []rule{rules6[0], {IPv6: true, Priority: 5209, Mark: 51820, Table: 51820}}, Guarded: []guard{guard6}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := makePlan(parse(t, test.lines, test.allowed...), around)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMakePlanRefuses(t *testing.T) {
	full := surroundings{Taken: make(map[uint32]bool), FirstRule: [2]int{32766, 32766}}
	for m := uint32(firstMark); m <= lastMark; m++ {
		full.Taken[m] = true
	}
	free := surroundings{FirstRule: [2]int{32766, 32766}}
	tests := []struct {
		lines, allowed, want string
		around               surroundings
	}{
		{"", "0.0.0.0/0", "no routing table is free", full},
		{"FwMark = 255", "0.0.0.0/0", "wg0.conf: FwMark: 255", free},
		{"", "::/0", "priority 2", surroundings{FirstRule: [2]int{32766, 2}}},
		{"MTU = 1200", "fd00::/8", "wg0.conf: MTU: 1200", free},
		{"MTU = 1200\nAddress = fd00::1", "10.0.0.0/8", "wg0.conf: MTU: 1200", free},
	}
	for _, test := range tests {
		if _, err := makePlan(parse(t, test.lines, test.allowed), test.around); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q, %s: error %v, want one with %q", test.lines, test.allowed, err, test.want)
		}
	}
	if _, err := makePlan(parse(t, "MTU = 1200\nAddress = 10.7.0.1/24", "0.0.0.0/0"), free); err != nil {
		t.Errorf("a small MTU without IPv6: %v", err)
	}
}

func TestInsideItself(t *testing.T) {
	free := surroundings{FirstRule: [2]int{32766, 32766}}
	tests := []struct {
		lines, allowed string
		want           bool
	}{
		{"", "128.0.0.0/1", true},
		{"", "10.0.0.0/8", false},
		{"", "0.0.0.0/0", false},
		{"FwMark = 9", "128.0.0.0/1", false},
		{"Table = 77", "128.0.0.0/1", false},
	}
	for _, test := range tests {
		p, err := makePlan(parse(t, test.lines, test.allowed), free)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.insideItself(netip.MustParseAddr("203.0.113.9")); got != test.want {
			t.Errorf("%q, %s: %v, want %v", test.lines, test.allowed, got, test.want)
		}
		if p.insideItself(netip.Addr{}) {
			t.Errorf("%q, %s: a peer without an endpoint is inside", test.lines, test.allowed)
		}
	}
}

func TestChooseMTU(t *testing.T) {
	tests := []struct {
		file  int
		paths []int
		want  int
	}{
		{0, nil, 1420},
		{0, []int{0}, 1420},
		{0, []int{1500}, 1420},
		{0, []int{9000, 1492, 0}, 1412}, // the narrowest, PPPoE
		{0, []int{1300}, 1280},          // not below IPv6's least
		{0, []int{65536}, 65456},        // loopback
		{0, []int{1 << 20}, 65535},
		{1234, []int{1500}, 1234},
	}
	for _, test := range tests {
		if got := chooseMTU(test.file, test.paths); got != test.want {
			t.Errorf("chooseMTU(%d, %v) = %d, want %d", test.file, test.paths, got, test.want)
		}
	}
}
