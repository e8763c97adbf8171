package network

import (
	"net"
	"net/netip"
	"testing"
)

var salt = []byte("0123456789abcdef0123456789abcdef")

func TestIDStaysAsItIs(t *testing.T) {
	// What is remembered under today's IDs must be found by tomorrow's program.
	for _, test := range []struct {
		s    Snapshot
		want ID
	}{
		{home(), "3b891cde560f64fe"},
		{home6(), "af5afd964a01f4b5"},
		{Snapshot{}, "0fed163dcc48d546"},
	} {
		got := test.s.ID(salt)
		if got != test.want {
			t.Errorf("%s: ID %s, want %s", test.s, got, test.want)
		}
		if !got.Valid() {
			t.Errorf("ID %q is not valid", got)
		}
	}
	for _, bad := range []ID{"", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", "0123456789ABCDEF"} {
		if bad.Valid() {
			t.Errorf("ID %q is valid", bad)
		}
	}
}

func TestIDDependsOnSalt(t *testing.T) {
	if home().ID(salt) == home().ID([]byte("another salt, as another machine")) {
		t.Error("one ID with two salts")
	}
}

func TestIDTellsNetworksApart(t *testing.T) {
	wired := func(s *Snapshot) { s.Interface, s.Kind, s.SSID = "eth0", Ethernet, "" }
	noMAC := func(s *Snapshot) { s.GatewayMAC, s.Weak = nil, true }
	vrrp := func(s *Snapshot) { s.GatewayMAC = net.HardwareAddr{0, 0, 0x5e, 0, 1, 7} }
	hsrp2 := func(s *Snapshot) { s.GatewayMAC = net.HardwareAddr{0, 0, 0x0c, 0x9f, 0xf1, 7} }
	lease := func(s *Snapshot) {
		if s.Local.Is4() {
			s.Local = netip.MustParseAddr("192.168.1.78")
		} else {
			s.Local = netip.MustParseAddr("2001:db8:1:2::7")
		}
	}
	otherMAC := func(s *Snapshot) { s.GatewayMAC = net.HardwareAddr{0x3c, 0xa6, 0x2f, 0x11, 0x22, 0x34} }
	otherSSID := func(s *Snapshot) { s.SSID = "Guests" }
	otherName := func(s *Snapshot) { s.Interface = "wlx001122334455" }
	prefix := func(text string) func(*Snapshot) {
		return func(s *Snapshot) { s.Prefix = netip.MustParsePrefix(text) }
	}
	gateway := func(text string) func(*Snapshot) {
		return func(s *Snapshot) { s.Gateway = netip.MustParseAddr(text) }
	}
	noGateway := func(s *Snapshot) { s.Gateway = netip.Addr{} }
	ppp := func(s *Snapshot) {
		*s = Snapshot{Interface: "ppp0", Kind: PointToPoint, Prefix: netip.MustParsePrefix("100.70.1.2/32"),
			Local: netip.MustParseAddr("100.70.1.2"), Gateway: netip.MustParseAddr("100.64.0.1"), Weak: true}
	}
	another := func(s *Snapshot) {
		s.Prefix, s.Local = netip.MustParsePrefix("100.99.8.7/32"), netip.MustParseAddr("100.99.8.7")
		s.Gateway = netip.MustParseAddr("100.99.0.1")
	}
	type changes []func(*Snapshot)
	for _, test := range []struct {
		name string
		base func() Snapshot
		a, b changes
		same bool
	}{
		{"another lease", home, nil, changes{lease}, true},
		{"another lease, IPv6", home6, nil, changes{lease}, true},
		{"another lease, no MAC", home, changes{noMAC}, changes{noMAC, lease}, true},
		{"another name of the interface", home, nil, changes{otherName}, true},
		{"zone of the gateway", home6, nil, changes{gateway("fe80::1%wlan0")}, true},
		{"another interface, wired", home, changes{wired}, changes{wired, otherName}, true},
		{"a MAC of zeros is none", home, changes{noMAC}, changes{func(s *Snapshot) { s.GatewayMAC = make(net.HardwareAddr, 6) }}, true},
		{"bits behind the prefix", home, nil, changes{prefix("192.168.1.77/24")}, true},

		{"another gateway's MAC", home, nil, changes{otherMAC}, false},
		{"another gateway's MAC, IPv6", home6, nil, changes{otherMAC}, false},
		{"another wireless network", home, nil, changes{otherSSID}, false},
		{"another prefix", home, nil, changes{prefix("192.168.0.0/16")}, false},
		{"another gateway", home, nil, changes{gateway("192.168.1.254")}, false},
		{"families", home, nil, changes{func(s *Snapshot) { *s = home6() }}, false},
		{"no MAC and a MAC", home, nil, changes{noMAC}, false},
		{"no MAC: kind of interface", home, changes{noMAC}, changes{wired, noMAC, func(s *Snapshot) { s.SSID = home().SSID }}, false},
		{"no MAC: another gateway", home, changes{noMAC}, changes{noMAC, gateway("192.168.1.254")}, false},
		{"no MAC: name of the interface", home, changes{noMAC}, changes{noMAC, otherName}, true},
		{"no gateway: name of the interface", home, changes{noMAC, noGateway}, changes{noMAC, noGateway, otherName}, false},
		{"no gateway: another prefix", home, changes{noMAC, noGateway}, changes{noMAC, noGateway, prefix("10.0.0.0/24")}, false},

		{"today's public IPv6 prefix", home6, nil, changes{prefix("2001:db8:7:8::/64")}, true},
		{"a private IPv6 prefix", home6, changes{prefix("fd00:1::/64")}, changes{prefix("fd00:2::/64")}, false},
		{"public IPv6 prefix, no MAC", home6, changes{noMAC}, changes{noMAC, prefix("2001:db8:7:8::/64")}, false},
		{"public IPv6 prefix, VRRP", home6, changes{vrrp}, changes{vrrp, prefix("2001:db8:7:8::/64")}, false},
		{"public IPv6 prefix, HSRP", home6, changes{hsrp2}, changes{hsrp2, prefix("2001:db8:7:8::/64")}, false},
		{"a modem's /30", home, changes{prefix("10.1.2.4/30"), gateway("10.1.2.5")}, changes{prefix("10.9.8.4/30"), gateway("10.9.8.5")}, true},
		{"a modem's /30 of another class", home, changes{prefix("10.1.2.4/30")}, changes{prefix("100.66.8.4/30")}, false},

		{"another call", home, changes{ppp}, changes{ppp, another}, true},
		{"another modem", home, changes{ppp}, changes{ppp, func(s *Snapshot) { s.Interface = "ppp1" }}, false},
		{"another class of addresses", home, changes{ppp}, changes{ppp, prefix("198.51.100.7/32")}, false},
		{"an address of its own, no MAC", home, changes{noMAC, prefix("192.168.1.77/32")}, changes{noMAC, prefix("192.168.1.78/32")}, true},
	} {
		idOf := func(list changes) ID {
			s := test.base()
			for _, change := range list {
				change(&s)
			}
			return s.ID(salt)
		}
		if a, b := idOf(test.a), idOf(test.b); (a == b) != test.same {
			t.Errorf("%s: IDs %s and %s, want the same: %t", test.name, a, b, test.same)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add("home", []byte{1, 2, 3, 4, 5, 6}, "", []byte{1, 2, 3, 4, 5, 6})
	f.Add("a", []byte{1}, "a\x01", []byte{})
	f.Fuzz(func(t *testing.T, ssid1 string, mac1 []byte, ssid2 string, mac2 []byte) {
		a, b := home(), home()
		a.SSID, a.GatewayMAC = ssid1, mac1
		b.SSID, b.GatewayMAC = ssid2, mac2
		same := ssid1 == ssid2 && a.mac().String() == b.mac().String()
		if got := string(a.canonical()) == string(b.canonical()); got != same {
			t.Errorf("encodings are the same: %t, facts are: %t", got, same)
		}
	})
}
