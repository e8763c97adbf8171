package network

import (
	"net"
	"net/netip"
	"testing"
)

func TestCurrentBySocket(t *testing.T) {
	s, err := currentBySocket(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Local != netip.MustParseAddr("127.0.0.1") || s.Kind != Loopback || !s.Prefix.Contains(s.Local) || s.Interface == "" || !s.Weak {
		t.Errorf("way to this machine itself: %s, %s, from %s, weak %t", s, s.Kind, s.Local, s.Weak)
	}
}

func TestCurrentRefusesNoAddress(t *testing.T) {
	for _, dst := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if s, err := Current(dst, 0); err == nil {
			t.Errorf("way to %q: %s, want an error", dst, s)
		}
	}
}

func TestPrefixOf(t *testing.T) {
	for _, test := range []struct {
		in   net.Addr
		want string
	}{
		{&net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.CIDRMask(24, 32)}, "192.0.2.7/24"},
		{&net.IPNet{IP: net.IPv4(192, 0, 2, 7).To4(), Mask: net.CIDRMask(24, 32)}, "192.0.2.7/24"},
		{&net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.CIDRMask(120, 128)}, "192.0.2.7/24"},
		{&net.IPNet{IP: net.ParseIP("2001:db8::1"), Mask: net.CIDRMask(64, 128)}, "2001:db8::1/64"},
		{&net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.IPMask{255, 0, 255, 0}}, ""},
		{&net.IPNet{}, ""},
		{&net.IPAddr{IP: net.IPv4(192, 0, 2, 7)}, ""},
	} {
		got, ok := prefixOf(test.in)
		if text := got.String(); ok != (test.want != "") || (ok && text != test.want) {
			t.Errorf("%v gives %s, %t, want %q", test.in, text, ok, test.want)
		}
	}
}
