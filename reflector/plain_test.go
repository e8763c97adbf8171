package reflector

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pion/stun/v3"

	"github.com/natprobe/natprobe/reflector/wire"
)

// home6 is a client over IPv6.
var home6 = netip.MustParseAddrPort("[2001:db8:9::9]:40000")

// TestOrigin: with one address RESPONSE-ORIGIN is there too (RFC 5780 section
// 6.1), as clients see it. TestLoopback has sockets that tell what was contacted.
func TestOrigin(t *testing.T) {
	public4, public6 := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8:5::5")
	for _, tt := range []struct {
		name, listen string
		advertise    []netip.Addr
		from         netip.AddrPort
		want         string
	}{
		{"bound", serverA, nil, home, serverA},
		{"bound, IPv6", "[2001:db8::1]:3478", nil, home6, "[2001:db8::1]:3478"},
		{"behind a NAT", "10.0.0.5:3478", []netip.Addr{public4}, home, "203.0.113.5:3478"},
		{"behind a NAT, in its IPv6 form", "10.0.0.5:3478", []netip.Addr{netip.AddrFrom16(public4.As16())}, home, "203.0.113.5:3478"},
		{"behind a NAT of the other family", "[2001:db8::1]:3478", []netip.Addr{public4}, home6, "[2001:db8::1]:3478"},
		{"wildcard that tells nothing", "0.0.0.0:3478", nil, home, ""},
		{"wildcard behind a NAT", "[::]:3478", []netip.Addr{public6, public4}, home, "203.0.113.5:3478"},
		{"wildcard behind a NAT, IPv6", "[::]:3478", []netip.Addr{public6, public4}, home6, "[2001:db8:5::5]:3478"},
		{"wildcard behind a NAT of the other family", "[::]:3478", []netip.Addr{public4}, home6, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, Config{Advertise: tt.advertise}, tt.listen)
				got := g.plain(0, tt.from, with(t, false))
				if got == nil {
					t.Fatal("no answer")
				}
				if origin := got.told(t, 0x802b); origin != tt.want {
					t.Errorf("RESPONSE-ORIGIN %q, want %q", origin, tt.want)
				}
				if got.Contains(0x802c) {
					t.Error("one address has an OTHER-ADDRESS")
				}
			})
		})
	}
}

// TestPlainRatios asks all sockets of servers with one address and with two for
// every mixture of attributes: no answer has more than 2.5 times its request's IP
// bytes, none is kept back for that, and the guide tells the worst.
func TestPlainRatios(t *testing.T) {
	worst := make(map[string]float64)
	for name, server := range map[string]struct {
		at   []string
		from netip.AddrPort
	}{
		"one, IPv4": {places[:1], home},
		"one, IPv6": {places6[:1], home6},
		"two, IPv4": {places, home},
		"two, IPv6": {places6, home6},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := Config{Limits: Limits{PPS: Unlimited}}
			var g *rig
			if len(server.at) == 1 {
				g = newRig(t, cfg, server.at...)
			} else {
				g = newDiscoveryRig(t, cfg, [2]netip.Addr{}, server.at)
			}
			for attributes := range mixtures() {
				for _, fingerprint := range []bool{false, true} {
					b := with(t, fingerprint, attributes...)
					for socket := range server.at {
						got := g.plain(socket, server.from, b)
						if got == nil {
							t.Fatalf("%s: no answer to %v", name, attributes)
						}
						kind := name
						if fingerprint {
							kind += ", FINGERPRINT"
						}
						if got.Contains(0x0026) {
							kind += ", PADDING"
						}
						ratio := float64(wire.IPBytes(server.from.Addr(), got.size)) / float64(wire.IPBytes(server.from.Addr(), len(b)))
						worst[kind] = max(worst[kind], ratio)
					}
				}
			}
		})
	}
	for kind, ratio := range worst {
		t.Logf("%-30s %.3f", kind, ratio)
		if ratio > plainRatio {
			t.Errorf("%s: %.3f times the request", kind, ratio)
		}
	}
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	told := fmt.Sprintf("with one address %.2f times over IPv4 and %.2f over IPv6, with two %.2f and %.2f",
		worst["one, IPv4"], worst["one, IPv6"], worst["two, IPv4"], worst["two, IPv6"])
	if !strings.Contains(strings.Join(strings.Fields(string(page)), " "), told) {
		t.Errorf("README.md doesn't say: %s", told)
	}
}

// mixtures are the attributes of RFC 5780, and unknown ones, in every mixture.
func mixtures() func(func([]stun.RawAttribute) bool) {
	choices := [][]stun.RawAttribute{
		{changeRequest(0), changeRequest(1), changeRequest(2), changeRequest(3), {Type: stun.AttrChangeRequest}},
		{responsePort(9), responsePort(0)},
		{padding(0), padding(1), padding(4), padding(100), padding(1500), padding(9000)},
		{{Type: 0x0002}, {Type: 0xFFFF}},
	}
	return func(yield func([]stun.RawAttribute) bool) {
		var mix func(at int, chosen []stun.RawAttribute) bool
		mix = func(at int, chosen []stun.RawAttribute) bool {
			if at == len(choices) {
				return yield(chosen)
			}
			for _, a := range choices[at] {
				if !mix(at+1, append(chosen[:len(chosen):len(chosen)], a)) {
					return false
				}
			}
			return mix(at+1, chosen)
		}
		mix(0, nil)
	}
}

// neverAssigned are n attributes that nobody knows, and must.
func neverAssigned(n int) (attributes []stun.RawAttribute, types []stun.AttrType) {
	for i := range n {
		types = append(types, stun.AttrType(0x7F00+i))
		attributes = append(attributes, stun.RawAttribute{Type: types[i]})
	}
	return attributes, types
}

// TestUnknownInNatprobe: a 420 to a natprobe message lists what was unknown,
// and never has more bytes than that.
func TestUnknownInNatprobe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		for n := 1; n <= 20; n++ {
			attributes, types := neverAssigned(n)
			hello := stun.RawAttribute{Type: 0xC0F0, Value: []byte{1, byte(wire.KindHello), 0, 0}}
			attributes = append(attributes, hello)
			for _, padded := range []bool{false, true} {
				if padded {
					attributes = append(attributes, stun.RawAttribute{Type: 0xC0FC, Value: make([]byte, 60)})
				}
				b := with(t, false, attributes...)
				g.conns[0].put(home, b)
				packets := g.take(0)
				if len(packets) == 0 && !padded && n < 6 {
					continue // too small to pay for an answer
				}
				if len(packets) != 1 || len(packets[0].payload) > len(b) {
					t.Fatalf("%d bytes with %d unknown attributes brought %v", len(b), n, packets)
				}
				m := &stun.Message{Raw: packets[0].payload}
				var unknown stun.UnknownAttributes
				if err := errors.Join(m.Decode(), unknown.GetFrom(m)); err != nil || !slices.Equal(unknown, types[:min(n, 16)]) {
					t.Errorf("of %v it doesn't know %v (%v)", types, unknown, err)
				}
			}
		}
	})
}
