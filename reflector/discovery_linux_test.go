package reflector

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"github.com/natprobe/natprobe/reflector/wire"
)

// loopbackDiscovery serves two addresses of loopback until the test ends, and
// returns its places, numbered as newDiscoveryRig does.
func loopbackDiscovery(t *testing.T) (*Reflector, []netip.AddrPort) {
	t.Helper()
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var d Discovery
	for tries := 0; ; tries++ {
		var at [2]netip.AddrPort
		for i, addr := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
			conn, err := Listen(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			at[i] = addrPort(conn.LocalAddr())
			conn.Close() // the system gives others before it gives this one again
		}
		if d, err = ListenDiscovery(t.Context(), at[0], at[1], 1); err == nil {
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || tries == 10 {
			t.Fatal(err)
		}
	}
	untilEnd(t, func(ctx context.Context) error { return r.ServeDiscovery(ctx, d) }, d)
	var at []netip.AddrPort
	for i := range 4 {
		at = append(at, addrPort(d.Conns[i/2][i%2][0].LocalAddr()))
	}
	return r, at
}

// anyPeer is a client's socket that takes what any address sends.
func anyPeer(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// askAt sends a plain request and returns the next answer, and from where it came.
func askAt(t *testing.T, conn *net.UDPConn, at netip.AddrPort, b []byte) (*answer, netip.AddrPort) {
	t.Helper()
	if _, err := conn.WriteToUDPAddrPort(b, at); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, from, err := conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		t.Fatalf("no answer from %v to %d bytes: %v", at, len(b), err)
	}
	m := &stun.Message{Raw: buffer[:n]}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	if m.TransactionID != [12]byte(b[8:20]) {
		t.Fatalf("the answer from %v is to another request than the last", from)
	}
	return &answer{size: n, Message: m}, netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// TestDiscoverySockets asks each place of a server with two addresses, on real
// sockets, for what TestDiscovery and TestPlainAttributes ask in memory.
func TestDiscoverySockets(t *testing.T) {
	_, at := loopbackDiscovery(t)
	conn := anyPeer(t)
	unknown := stun.RawAttribute{Type: 0x0002}
	type request struct {
		name       string
		attributes []stun.RawAttribute
		change     wire.Change // by which it is answered from another place
		code       int
		padding    int
	}
	requests := []request{
		{"port 0", []stun.RawAttribute{responsePort(0), changeRequest(3)}, 0, 400, 0},
		{"padding and port", []stun.RawAttribute{padding(100), responsePort(9), changeRequest(3)}, 0, 400, 0},
		{"no change's size", []stun.RawAttribute{{Type: stun.AttrChangeRequest}}, 0, 400, 0},
		{"unknown", []stun.RawAttribute{unknown, changeRequest(3)}, 0, 420, 0},
	}
	for change := range wire.Change(4) {
		requests = append(
			requests,
			request{"change", []stun.RawAttribute{changeRequest(change)}, change, 0, 0},
			request{"change and port", []stun.RawAttribute{changeRequest(change), responsePort(addrPort(conn.LocalAddr()).Port())}, change, 0, 0},
			request{"change and padding", []stun.RawAttribute{changeRequest(change), padding(1500)}, change, 0, 1500},
		)
	}
	for place := range at {
		for _, r := range requests {
			for _, fingerprint := range []bool{false, true} {
				got, from := askAt(t, conn, at[place], with(t, fingerprint, r.attributes...))
				want := at[place^int(r.change)]
				if from != want || got.code(t) != r.code {
					t.Errorf("%s at %v: %v answers with %d, want %v with %d", r.name, at[place], from, got.code(t), want, r.code)
				}
				if pad, err := got.Get(0x0026); len(pad) != r.padding || (err == nil) != (r.padding > 0) {
					t.Errorf("%s at %v: %d bytes of padding, want %d", r.name, at[place], len(pad), r.padding)
				}
				if origin := got.told(t, 0x802b); (origin == want.String()) != (r.code == 0) {
					t.Errorf("%s at %v: RESPONSE-ORIGIN %q, want %v", r.name, at[place], origin, want)
				}
				if other := got.told(t, 0x802c); (other == at[place^3].String()) != (r.code == 0) {
					t.Errorf("%s at %v: OTHER-ADDRESS %q, want %v", r.name, at[place], other, at[place^3])
				}
				if err := stun.Fingerprint.Check(got.Message); (err == nil) != fingerprint {
					t.Errorf("%s at %v: FINGERPRINT: %v", r.name, at[place], err)
				}
			}
		}
	}
}

// TestLongRequests: requests padded to the MTUs of this world are answered, at
// each place. Longer ones are dropped, and counted with all their bytes.
func TestLongRequests(t *testing.T) {
	const attribute = 24 // with the header before it
	r, at := loopbackDiscovery(t)
	conn := anyPeer(t)
	sent := uint64(0)
	ask := func(place netip.AddrPort, b []byte) *answer {
		sent += uint64(28 + len(b))
		got, _ := askAt(t, conn, place, b)
		return got
	}
	for _, place := range at {
		for _, size := range []int{2028, 4000, 9000, batchBuffer} {
			got := ask(place, with(t, false, padding(size-attribute)))
			if pad, err := got.Get(0x0026); err != nil || len(pad) != wire.MaxPlainPadding || got.code(t) != 0 {
				t.Errorf("%d bytes at %v are answered with %d bytes of PADDING (%v), want %d", size, place, len(pad), err, wire.MaxPlainPadding)
			}
		}
		for _, size := range []int{batchBuffer + 4, 20_000, 60_000} {
			b := with(t, true, padding(size-attribute-8))
			sent += uint64(28 + len(b))
			if _, err := conn.WriteToUDPAddrPort(b, place); err != nil {
				t.Fatal(err)
			}
			ask(place, with(t, false)) // whose answer is the next
		}
	}
	s := r.Stats()
	for _, name := range []string{"README.md", "wire/PROTOCOL.md"} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if told := "datagrams of more than " + thousands(batchBuffer) + " bytes"; !strings.Contains(string(page), told) {
			t.Errorf("%s doesn't say: %s", name, told)
		}
	}
	if s.Foreign != uint64(3*len(at)) || s.Plain != uint64(7*len(at)) || s.BytesIn != sent {
		t.Errorf("foreign %d, plain %d, %d bytes; want %d, %d, %d", s.Foreign, s.Plain, s.BytesIn, 3*len(at), 7*len(at), sent)
	}
}
