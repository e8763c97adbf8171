package tunnel

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/natprobe/natprobe/vpn"
)

func TestRedact(t *testing.T) {
	tests := []struct{ in, want string }{
		{"Interface up requested", "Interface up requested"},
		{"from 203.0.113.77", "from 203.0.113.x"},
		{"from 203.0.113.77:51820", "from 203.0.113.x:51820"},
		{"write udp4 0.0.0.0:5->203.0.113.77:51820: sendto: no route.", "write udp4 0.0.0.0:5->203.0.113.x:51820: sendto: no route."},
		{"at 203.0.113.77.", "at 203.0.113.x."},
		{"endpoint=203.0.113.77:1", "endpoint=203.0.113.x:1"},
		{"name:203.0.113.77:9:", "name:203.0.113.x:9:"},
		{"to [2001:db8:1:2::3]:51820", "to [2001:db8:1::/48]:51820"},
		{"to 2001:db8:1:2::3", "to 2001:db8:1::/48"},
		{"to ::ffff:203.0.113.77", "to 203.0.113.x"},
		{"failed: 2001:db8:1:2::: why", "failed: 2001:db8:1:2::: why"}, // none
		{"failed: 2001:db8:1:2::4: why", "failed: 2001:db8:1::/48: why"},
		{"to fe80::1234%eth0: lost", "to fe80::/48: lost"},
		{"[::]:51820 and ::1", "[::]:51820 and ::1"},
		{"in 1.5 seconds, at 10:20:30", "in 1.5 seconds, at 10:20:30"},
		{"peer(xTIB…p8Dg) - Sending", "peer(xTIB…p8Dg) - Sending"},
		{`parse "6AgToMR5uGNvJSkXKUvPyuZVHRW8mI8Kmr/bVY8GJG8="`, `parse "(hidden)"`},
		{"key e8081a0ac4f9b8636f252917294bcfcae6551d15bc988f0a9abfdb558f06246f", "key (hidden)"},
	}
	for _, test := range tests {
		if got := redact(test.in); got != test.want {
			t.Errorf("redact(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

// FuzzRedact: whatever is around an address, it doesn't stay whole.
func FuzzRedact(f *testing.F) {
	f.Add("from ", ":51820: lost")
	f.Add("name:", ":")
	f.Add("::ffff:", "%eth0")
	f.Fuzz(func(t *testing.T, before, after string) {
		const address = "203.0.113.77"
		if strings.ContainsAny(before, "0123456789.") || strings.ContainsAny(after[:min(1, len(after))], "0123456789.") {
			t.Skip("part of something longer that is no address")
		}
		if got := redact(before + address + after); strings.Contains(strings.TrimSuffix(got, after), address) {
			t.Errorf("%q", got)
		}
	})
}

func TestDeviceLogger(t *testing.T) {
	var out bytes.Buffer
	l := deviceLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.Verbosef("Received message from %s", "203.0.113.77:1")
	l.Errorf("Failed: %v", "x")
	for _, want := range []string{"level=DEBUG", "203.0.113.x:1", "level=WARN", "Failed: x"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, out.String())
		}
	}
}

func TestParsePeers(t *testing.T) {
	first, second := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	const secret = "e8081a0ac4f9b8636f252917294bcfcae6551d15bc988f0a9abfdb558f06246f"
	text := "private_key=" + secret + "\nlisten_port=51820\nfwmark=51820\n" +
		"public_key=" + first + "\npreshared_key=" + secret + "\nprotocol_version=1\nendpoint=[2001:db8::1]:51820\n" +
		"last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=148\nrx_bytes=92\n" +
		"persistent_keepalive_interval=25\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n" +
		"public_key=" + second + "\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\npersistent_keepalive_interval=0\n"
	got, err := parsePeers(text)
	if err != nil {
		t.Fatal(err)
	}
	key := func(b byte) (k vpn.PublicKey) {
		for i := range k {
			k[i] = b
		}
		return k
	}
	want := []vpn.PeerState{
		{PublicKey: key(0xab), Endpoint: netip.MustParseAddrPort("[2001:db8::1]:51820"), Keepalive: 25 * time.Second,
			LastHandshake: time.Unix(1700000000, 5), ReceivedBytes: 92, SentBytes: 148},
		{PublicKey: key(0xcd)},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	if port, err := parsePort(text); err != nil || port != 51820 {
		t.Errorf("port %d, %v", port, err)
	}
	if port, err := parsePort("private_key=" + secret + "\n"); err != nil || port != 0 {
		t.Errorf("port %d, %v, where there is none", port, err)
	}
	if got, err := parsePeers(""); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for _, bad := range []string{
		"public_key=" + secret[:62], "public_key=" + secret[:62] + "zz",
		"public_key=" + first + "\nendpoint=" + secret, "public_key=" + first + "\nrx_bytes=" + secret,
		"public_key=" + first + "\npersistent_keepalive_interval=65536",
	} {
		_, err := parsePeers(bad)
		if err == nil {
			t.Errorf("no error for %q", bad)
		} else if strings.Contains(err.Error(), secret[:30]) {
			t.Errorf("the error has text of the answer: %v", err)
		}
	}
}

func TestRequests(t *testing.T) {
	var key vpn.PublicKey
	key[0] = 0xab
	hex := "ab" + strings.Repeat("00", 31)
	want := "public_key=" + hex + "\nupdate_only=true\npersistent_keepalive_interval=0\npersistent_keepalive_interval=25\n"
	if diff := cmp.Diff(want, setKeepalive(key, 25)); diff != "" {
		t.Errorf("setKeepalive (-want +got):\n%s", diff)
	}
	want = "public_key=" + hex + "\nupdate_only=true\nendpoint=[2001:db8::1]:5\n"
	if diff := cmp.Diff(want, setEndpoint(key, netip.MustParseAddrPort("[2001:db8::1]:5"))); diff != "" {
		t.Errorf("setEndpoint (-want +got):\n%s", diff)
	}
}
