package network

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// far are addresses of the documentation, behind every gateway.
const (
	far4 = "198.51.100.1"
	far6 = "2001:db8:ffff::1"
)

var (
	macA = net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 1}
	macB = net.HardwareAddr{0x02, 0xbb, 0, 0, 0, 1}
)

// twoHomes connects the test's namespace to two networks that have nothing
// different but the hardware address of the gateway.
func twoHomes(t *testing.T) (a, b *router) {
	t.Helper()
	a, b = newRouter(t), newRouter(t)
	theirs := []string{"192.168.1.1/24", "fe80::1/64", "2001:db8:1::1/64"}
	connect(t, a, "home0", macA, []string{"192.168.1.77/24", "fe80::77/64", "2001:db8:1::77/64"}, theirs)
	connect(t, b, "home1", macB, []string{"192.168.1.78/24", "fe80::78/64", "2001:db8:1::78/64"}, theirs)
	return a, b
}

func TestCurrentInNamespace(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	for _, test := range []struct {
		gateway, dst string
		prefix       string
		local        [2]string
	}{
		{"192.168.1.1", far4, "192.168.1.0/24", [2]string{"192.168.1.77", "192.168.1.78"}},
		{"fe80::1", far6, "2001:db8:1::/64", [2]string{"2001:db8:1::77", "2001:db8:1::78"}},
	} {
		move := func(home int) Snapshot {
			t.Helper()
			name := []string{"home0", "home1"}[home]
			defaultVia(t, name, test.gateway)
			got := current(t, test.dst, 0)
			want := Snapshot{
				Interface: name, Kind: Ethernet, Gateway: netip.MustParseAddr(test.gateway),
				GatewayMAC: []net.HardwareAddr{macA, macB}[home], Prefix: netip.MustParsePrefix(test.prefix),
				Local: netip.MustParseAddr(test.local[home]),
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Fatalf("way to %s through %s (-want +got):\n%s", test.dst, name, diff)
			}
			return got
		}
		first, second, back := move(0).ID(salt), move(1).ID(salt), move(0).ID(salt)
		if first == second {
			t.Errorf("%s: two networks with the ID %s", test.dst, first)
		}
		if first != back {
			t.Errorf("%s: the ID is %s, and %s on coming back", test.dst, first, back)
		}
	}
}

func TestCurrentAfterAnotherLease(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	defaultVia(t, "home0", "192.168.1.1")
	before := current(t, far4, 0)
	link, err := netlink.LinkByName("home0")
	check(t, "find home0", err)
	old, err := netlink.ParseAddr("192.168.1.77/24")
	check(t, "parse", err)
	check(t, "add a lease", addAddresses("home0", []string{"192.168.1.99/24"}))
	check(t, "end the lease", netlink.AddrDel(link, old))
	// Its routes may go with an address, and other addresses of its prefix.
	if list, err := netlink.AddrList(link, netlink.FAMILY_V4); err == nil && len(list) == 0 {
		check(t, "add a lease", addAddresses("home0", []string{"192.168.1.99/24"}))
	}
	defaultVia(t, "home0", "192.168.1.1")
	after := current(t, far4, 0)
	if before.Weak || after.Weak {
		t.Fatalf("the hardware address of the gateway is not known")
	}
	if after.Local != netip.MustParseAddr("192.168.1.99") {
		t.Fatalf("packets leave from %s", after.Local)
	}
	if before.ID(salt) != after.ID(salt) {
		t.Errorf("another lease has another ID")
	}
}

func TestCurrentLooksPastATunnel(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	const mark, table = 0xca6c, 51820
	defaultVia(t, "home0", "192.168.1.1")
	// As wg-quick does it: what isn't marked goes to the tunnel's table.
	pointToPoint(t, "wg0", "10.9.0.2/32")
	_, everything, err := net.ParseCIDR("0.0.0.0/0")
	check(t, "parse", err)
	check(t, "set the tunnel's route", netlink.RouteAdd(&netlink.Route{Dst: everything, LinkIndex: indexOf(t, "wg0"), Table: table, Scope: unix.RT_SCOPE_LINK}))
	rule := netlink.NewRule()
	rule.Family, rule.Mark, rule.Invert, rule.Table = netlink.FAMILY_V4, mark, true, table
	check(t, "add a rule", netlink.RuleAdd(rule))
	if got := current(t, far4, mark); got.Interface != "home0" || got.GatewayMAC.String() != macA.String() {
		t.Errorf("marked packets leave through %s", got)
	}
	if got := current(t, far4, 0); got.Interface != "wg0" {
		t.Errorf("other packets leave through %s", got)
	}
}

func TestCurrentOffline(t *testing.T) {
	enterNamespace(t)
	router, _ := twoHomes(t)
	offline := func(why, dst string) {
		t.Helper()
		s, err := Current(netip.MustParseAddr(dst), 0)
		if !errors.Is(err, ErrOffline) {
			t.Errorf("%s: the way to %s is %s, %v, want ErrOffline", why, dst, s, err)
		}
	}
	offline("no route", far4)
	offline("no route", far6)
	offline("no such interface", "fe80::1%nowhere")
	for _, kind := range []int{unix.RTN_UNREACHABLE, unix.RTN_BLACKHOLE, unix.RTN_PROHIBIT} {
		for _, text := range []string{"198.51.100.0/24", "2001:db8:ffff::/48"} {
			_, dst, err := net.ParseCIDR(text)
			check(t, "parse", err)
			check(t, "set a route to nowhere", netlink.RouteReplace(&netlink.Route{Dst: dst, Type: kind}))
		}
		offline("a route to nowhere", far4)
		offline("a route to nowhere", far6)
	}
	defaultVia(t, "home0", "192.168.1.1")
	current(t, "203.0.113.1", 0)
	router.do("pull the cable", func() error {
		link, err := netlink.LinkByName("lan")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	})
	eventually(t, "no carrier", func() bool {
		_, err := Current(netip.MustParseAddr("203.0.113.1"), 0)
		return errors.Is(err, ErrOffline)
	})
}

func TestCurrentWithoutHardwareAddress(t *testing.T) {
	enterNamespace(t)
	router := newRouter(t)
	connect(t, router, "home0", macA, []string{"192.168.1.77/24"}, nil)
	defaultVia(t, "home0", "192.168.1.1") // who isn't there
	weak := current(t, far4, 0)
	if !weak.Weak || len(weak.GatewayMAC) != 0 || weak.Gateway != netip.MustParseAddr("192.168.1.1") {
		t.Errorf("network of a silent gateway: %s, weak %t", weak, weak.Weak)
	}
	router.do("turn up", func() error { return addAddresses("lan", []string{"192.168.1.1/24"}) })
	eventually(t, "the gateway's hardware address", func() bool { return !current(t, far4, 0).Weak })
	if got := current(t, far4, 0); got.GatewayMAC.String() != macA.String() || got.ID(salt) == weak.ID(salt) {
		t.Errorf("the hardware address of %s is not known", got)
	}
}

func TestCurrentOnLink(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	for _, dst := range []string{"192.168.1.200", "fe80::2%home0", "2001:db8:1::2"} {
		got := current(t, dst, 0)
		if got.Gateway.IsValid() || !got.Weak || !got.Prefix.Contains(netip.MustParseAddr(dst).WithZone("")) {
			t.Errorf("way to %s: %s, weak %t", dst, got, got.Weak)
		}
	}
	if got := current(t, "127.0.0.1", 0); got.Kind != Loopback {
		t.Errorf("way to this machine itself: %s, %s", got, got.Kind)
	}
	if got := current(t, "fe80::1%home1", 0); got.Interface != "home1" {
		t.Errorf("way to an address on home1: %s", got)
	}
	if got := current(t, "::ffff:192.168.1.200", 0); got.Prefix != netip.MustParsePrefix("192.168.1.0/24") {
		t.Errorf("way to a mapped address: %s", got)
	}
}

// TestCurrentViaIPv6: an IPv4 route may have an IPv6 gateway.
func TestCurrentViaIPv6(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	_, everything, err := net.ParseCIDR("0.0.0.0/0")
	check(t, "parse", err)
	check(t, "set the default route", netlink.RouteReplace(&netlink.Route{
		Dst: everything, LinkIndex: indexOf(t, "home1"),
		Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("fe80::1")},
	}))
	got := current(t, far4, 0)
	if got.Gateway != netip.MustParseAddr("fe80::1") || got.GatewayMAC.String() != macB.String() || got.Prefix != netip.MustParsePrefix("192.168.1.0/24") {
		t.Errorf("way through an IPv6 gateway: %s", got)
	}
}

// TestCurrentWithSingleAddress: DHCPv6 gives out addresses without a prefix,
// which the router advertises.
func TestCurrentWithSingleAddress(t *testing.T) {
	enterNamespace(t)
	router := newRouter(t)
	connect(t, router, "home0", macA, []string{"fe80::77/64", "2001:db8:1::77/128"}, []string{"fe80::1/64"})
	_, onLink, err := net.ParseCIDR("2001:db8:1::/64")
	check(t, "parse", err)
	check(t, "set the prefix", netlink.RouteAdd(&netlink.Route{Dst: onLink, LinkIndex: indexOf(t, "home0")}))
	defaultVia(t, "home0", "fe80::1")
	if got := current(t, far6, 0); got.Prefix != netip.MustParsePrefix("2001:db8:1::/64") || got.Local != netip.MustParseAddr("2001:db8:1::77") {
		t.Errorf("way: %s from %s", got, got.Local)
	}
}

func TestCurrentPointToPoint(t *testing.T) {
	enterNamespace(t)
	pointToPoint(t, "ppp7", "100.70.1.2/32")
	_, everything, err := net.ParseCIDR("0.0.0.0/0")
	check(t, "parse", err)
	check(t, "set the default route", netlink.RouteAdd(&netlink.Route{Dst: everything, LinkIndex: indexOf(t, "ppp7"), Scope: unix.RT_SCOPE_LINK}))
	got := current(t, far4, 0)
	if got.Kind != PointToPoint || got.Label() != "ppp7, carrier NAT addresses" || !got.Weak {
		t.Errorf("way: %s, %s, weak %t", got, got.Kind, got.Weak)
	}
}

func TestWirelessName(t *testing.T) {
	for _, name := range []string{"lo", "nowhere", "", "a name that is much too long"} {
		if wireless, ssid := wirelessName(name); wireless || ssid != "" {
			t.Errorf("%q is wireless: %t, in %q", name, wireless, ssid)
		}
	}
}
