package vpn

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppendUAPIResolved(t *testing.T) {
	text, err := os.ReadFile("testdata/server.conf")
	if err != nil {
		t.Fatal(err)
	}
	named := strings.Replace(string(text), "192.0.2.67:1234", "vpn.example.com:1234", 1)
	config, err := Parse(strings.NewReader(named), "wg0.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		resolved map[PublicKey]netip.AddrPort
		want     []string
	}{
		{"not yet", nil, []string{"endpoint=[2001:db8:60:6b0::543]:2468"}},
		{
			"resolved",
			map[PublicKey]netip.AddrPort{filled(0xa3): netip.MustParseAddrPort("[::ffff:192.0.2.67]:1234")},
			[]string{"endpoint=[2001:db8:60:6b0::543]:2468", "endpoint=192.0.2.67:1234"},
		},
		{
			"overridden",
			map[PublicKey]netip.AddrPort{filled(0xa2): netip.MustParseAddrPort("[fe80::1%eth0]:1")},
			[]string{"endpoint=[fe80::1%eth0]:1"},
		},
		{"taken away", map[PublicKey]netip.AddrPort{filled(0xa2): {}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for line := range strings.Lines(string(config.AppendUAPI([]byte("endpoint=before\n"), test.resolved))) {
				if strings.HasPrefix(line, "endpoint=") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			if diff := cmp.Diff(append([]string{"endpoint=before"}, test.want...), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
