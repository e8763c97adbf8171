package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// home is a network as most people have it.
func home() Snapshot {
	return Snapshot{
		Interface:  "wlan0",
		Kind:       Wireless,
		Gateway:    netip.MustParseAddr("192.168.1.1"),
		GatewayMAC: net.HardwareAddr{0x3c, 0xa6, 0x2f, 0x11, 0x22, 0x33},
		Prefix:     netip.MustParsePrefix("192.168.1.0/24"),
		SSID:       "Secret Garden",
		Local:      netip.MustParseAddr("192.168.1.77"),
	}
}

// home6 is the same for IPv6.
func home6() Snapshot {
	s := home()
	s.Gateway = netip.MustParseAddr("fe80::1")
	s.Prefix = netip.MustParsePrefix("2001:db8:1:2::/64")
	s.Local = netip.MustParseAddr("2001:db8:1:2:aaaa:bbbb:cccc:dddd")
	return s
}

func TestPrintingShowsNoPrivateFacts(t *testing.T) {
	for _, s := range []Snapshot{home(), home6()} {
		var text, document bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("moved", "network", s)
		slog.New(slog.NewJSONHandler(&document, nil)).Info("moved", "network", s, "pointer", &s)
		marshalled, err := json.Marshal(map[string]any{"network": s})
		if err != nil {
			t.Fatal(err)
		}
		outputs := map[string]string{
			"label": s.Label(), "slog text": text.String(), "slog json": document.String(), "json": string(marshalled),
			"in a struct": fmt.Sprintf("%+v", struct{ S Snapshot }{s}),
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			outputs[verb] = fmt.Sprintf(verb, s)
			outputs[verb+" of a pointer"] = fmt.Sprintf(verb, &s)
		}
		for how, got := range outputs {
			if !strings.Contains(got, s.Gateway.String()) || !strings.Contains(got, s.Prefix.String()) || !strings.Contains(got, "wlan0") {
				t.Errorf("%s gives %q: interface, gateway or prefix is missing", how, got)
			}
			for _, private := range []string{"3c:a6", "3ca62f", "11:22:33", "Garden", s.Local.String(), "[60 166 47"} {
				if strings.Contains(got, private) {
					t.Errorf("%s gives %q, which shows %q", how, got, private)
				}
			}
		}
	}
}

func TestLabel(t *testing.T) {
	with := func(change func(*Snapshot)) Snapshot {
		s := home()
		change(&s)
		return s
	}
	for _, test := range []struct {
		s    Snapshot
		want string
	}{
		{Snapshot{}, "no interface"},
		{home(), "wlan0, gateway 192.168.1.1, 192.168.1.0/24"},
		{home6(), "wlan0, gateway fe80::1, 2001:db8:1:2::/64"},
		{with(func(s *Snapshot) { s.Gateway = netip.MustParseAddr("fe80::1%wlan0") }), "wlan0, gateway fe80::1, 192.168.1.0/24"},
		{with(func(s *Snapshot) { s.Gateway = netip.Addr{} }), "wlan0, 192.168.1.0/24"},
		{with(func(s *Snapshot) { s.Prefix = netip.MustParsePrefix("100.70.1.2/32") }), "wlan0, gateway 192.168.1.1, carrier NAT addresses"},
		{with(func(s *Snapshot) { s.Prefix = netip.MustParsePrefix("203.0.113.4/30") }), "wlan0, gateway 192.168.1.1, public addresses"},
		{with(func(s *Snapshot) { s.Prefix = netip.MustParsePrefix("10.1.2.3/31") }), "wlan0, gateway 192.168.1.1, private addresses"},
		{with(func(s *Snapshot) { s.Prefix = netip.MustParsePrefix("2001:db8::5/128") }), "wlan0, gateway 192.168.1.1, 2001:db8::/64"},
	} {
		if got := test.s.Label(); got != test.want {
			t.Errorf("label %q, want %q", got, test.want)
		}
	}
}
