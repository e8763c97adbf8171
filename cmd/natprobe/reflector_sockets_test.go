package main

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// TestAdvertisedAlone: families with a second address tell their own.
func TestAdvertisedAlone(t *testing.T) {
	four, six := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5")
	pair := []string{"192.0.2.1:3478"}
	for _, tt := range []struct {
		name  string
		flags reflectorFlags
		want  []netip.Addr
	}{
		{"none", reflectorFlags{listen: []string{":3478"}}, nil},
		{"one", reflectorFlags{listen: []string{":3478"}, advertise: []string{"203.0.113.5"}}, []netip.Addr{four}},
		{"a pair's", reflectorFlags{listen: pair, alternate: []string{"192.0.2.2:3479"}, advertise: []string{"203.0.113.5", "203.0.113.6"}}, nil},
		{
			"a pair's and one", reflectorFlags{
				listen: append(pair, "[::1]:3478"), alternate: []string{"192.0.2.2:3479"},
				advertise: []string{"203.0.113.5", "2001:db8::5", "203.0.113.6"},
			},
			[]netip.Addr{six},
		},
	} {
		plan, err := tt.flags.listening()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := plan.advertisedAlone(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestReflectorAdvertises: behind a 1:1 NAT answers tell the public address.
func TestReflectorAdvertises(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort(startReflector(t, "--advertise", "203.0.113.5"))
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(wire.Binding{ID: wire.NewID()}.Encode()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2048)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := wire.ParseReply(b[:n])
	if got, ok := reply.(wire.BindingReply); !ok || got.Origin != netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), at.Port()) {
		t.Errorf("answered with %+v, %v", reply, err)
	}
}
