package reflector

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pion/stun/v3"

	"github.com/natprobe/natprobe/reflector/wire"
)

// places are the sockets of a server with two addresses, as newDiscoveryRig
// numbers them.
var (
	places  = []string{"192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"}
	places6 = []string{"[2001:db8::1]:3478", "[2001:db8::1]:3479", "[2001:db8::2]:3478", "[2001:db8::2]:3479"}
)

// newDiscoveryRig serves two addresses.
func newDiscoveryRig(t *testing.T, cfg Config, public [2]netip.Addr, at []string) *rig {
	t.Helper()
	g := unservedRig(t, cfg, at...)
	d := Discovery{Public: public}
	for i, conn := range g.conns {
		d.Conns[i/2][i%2] = []net.PacketConn{conn}
	}
	g.serve(func(ctx context.Context) error { return g.reflector.ServeDiscovery(ctx, d) })
	return g
}

// with returns a plain request with attributes, each a type and its value.
func with(t *testing.T, fingerprint bool, attributes ...stun.RawAttribute) []byte {
	t.Helper()
	m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	for _, a := range attributes {
		m.Add(a.Type, a.Value)
	}
	if fingerprint {
		if err := stun.Fingerprint.AddTo(m); err != nil {
			t.Fatal(err)
		}
	}
	return m.Raw
}

func changeRequest(c wire.Change) stun.RawAttribute {
	value := make([]byte, 4)
	if c&wire.ChangePort != 0 {
		value[3] |= 2
	}
	if c&wire.ChangeAddr != 0 {
		value[3] |= 4
	}
	return stun.RawAttribute{Type: stun.AttrChangeRequest, Value: value}
}

func responsePort(port uint16) stun.RawAttribute {
	return stun.RawAttribute{Type: 0x0027, Value: binary.BigEndian.AppendUint16(nil, port)}
}

func padding(n int) stun.RawAttribute { return stun.RawAttribute{Type: 0x0026, Value: make([]byte, n)} }

// answer is what came of a plain request.
type answer struct {
	socket int
	peer   netip.AddrPort
	size   int
	*stun.Message
}

// plain sends a plain request to socket i and returns the one answer, or nil.
func (g *rig) plain(i int, from netip.AddrPort, b []byte) *answer {
	g.t.Helper()
	g.conns[i].put(from, b)
	var got *answer
	for s := range g.conns {
		for _, p := range g.take(s) {
			if got != nil {
				g.t.Fatal("more than one answer to one request")
			}
			m := &stun.Message{Raw: p.payload}
			if err := m.Decode(); err != nil {
				g.t.Fatalf("% x: %v", p.payload, err)
			}
			got = &answer{socket: s, peer: p.peer, size: len(p.payload), Message: m}
			in, out := wire.IPBytes(from.Addr(), len(b)), wire.IPBytes(from.Addr(), len(p.payload))
			if 2*out > 5*in || p.peer.Addr() != from.Addr() {
				g.t.Errorf("%d bytes from %v brought %d to %v", in, from, out, p.peer)
			}
		}
	}
	return got
}

// told returns an address that an answer tells.
func (a *answer) told(t *testing.T, attribute stun.AttrType) string {
	t.Helper()
	var mapped stun.MappedAddress
	if err := mapped.GetFromAs(a.Message, attribute); err != nil {
		return ""
	}
	return mapped.String()
}

func (a *answer) code(t *testing.T) int {
	t.Helper()
	var e stun.ErrorCodeAttribute
	if e.GetFrom(a.Message) != nil {
		return 0
	}
	return int(e.Code)
}

// TestDiscovery asks each socket of a server with two addresses for each
// change: RFC 5780 section 6.1, table 1.
func TestDiscovery(t *testing.T) {
	for _, family := range []struct {
		name   string
		at     []string
		public [2]netip.Addr
		told   []string
		from   netip.AddrPort
	}{
		{"IPv4", places, [2]netip.Addr{}, places, home},
		{
			"behind a NAT", []string{"10.0.0.5:3478", "10.0.0.5:3479", "10.0.0.6:3478", "10.0.0.6:3479"},
			[2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, places, home,
		},
		{"IPv6", places6, [2]netip.Addr{}, places6, home6},
	} {
		t.Run(family.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newDiscoveryRig(t, Config{}, family.public, family.at)
				for socket := range family.at {
					for change := range wire.Change(4) {
						for _, b := range [][]byte{
							with(t, false, changeRequest(change)),
							with(t, true, changeRequest(change)),
							with(t, true, changeRequest(change), responsePort(7)),
						} {
							got := g.plain(socket, family.from, b)
							if got == nil {
								t.Fatalf("no answer at %d to %v", socket, change)
							}
							want := socket ^ int(change) // the port is the lower bit, the address the upper
							if got.socket != want {
								t.Errorf("asked at %d for change %d: answered from %d, want %d", socket, change, got.socket, want)
							}
							if origin := got.told(t, 0x802b); origin != family.told[want] {
								t.Errorf("RESPONSE-ORIGIN %s, want %s", origin, family.told[want])
							}
							if other := got.told(t, 0x802c); other != family.told[socket^3] {
								t.Errorf("OTHER-ADDRESS %s, want %s", other, family.told[socket^3])
							}
							var xor stun.XORMappedAddress
							if err := xor.GetFrom(got.Message); err != nil || xor.String() != family.from.String() || got.told(t, stun.AttrMappedAddress) != family.from.String() {
								t.Errorf("mapped %v and %s, want %v", xor, got.told(t, stun.AttrMappedAddress), family.from)
							}
							if err := stun.Fingerprint.Check(got.Message); (err == nil) != strings.Contains(string(b), "\x80\x28\x00\x04") {
								t.Errorf("FINGERPRINT: %v", err)
							}
						}
					}
				}
			})
		})
	}
}

// TestPlainAttributes: what one address answers, and what two do at each of
// their places.
func TestPlainAttributes(t *testing.T) {
	for _, family := range []struct {
		name string
		at   []string
		home netip.AddrPort
	}{{"IPv4", places, home}, {"IPv6", places6, home6}} {
		t.Run(family.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testPlainAttributes(t, family.at, family.home) })
		})
	}
}

func testPlainAttributes(t *testing.T, places []string, home netip.AddrPort) {
	two := newDiscoveryRig(t, Config{}, [2]netip.Addr{}, places)
	one := newRig(t, Config{}, places[0])
	noChange := stun.RawAttribute{Type: stun.AttrChangeRequest, Value: make([]byte, 8)}
	ice := []stun.RawAttribute{{Type: stun.AttrPriority, Value: make([]byte, 4)}, {Type: stun.AttrUseCandidate}}
	many, manyTypes := neverAssigned(20)
	for _, tt := range []struct {
		name     string
		g        *rig
		request  []byte
		code     int // 0: success
		unknown  []stun.AttrType
		peerPort uint16 // 0: where the request came from
		padding  int
	}{
		{"one address, bare", one, with(t, false), 0, nil, 0, 0},
		{"one address, change", one, with(t, true, changeRequest(wire.ChangeAddr)), 420, []stun.AttrType{3}, 0, 0},
		{"one address, no flag", one, with(t, false, changeRequest(0)), 420, []stun.AttrType{3}, 0, 0},
		{"one address, no change's size", one, with(t, false, noChange), 420, []stun.AttrType{3}, 0, 0},
		{"one address, port", one, with(t, false, responsePort(9)), 0, nil, 9, 0},
		{"one address, padding", one, with(t, false, padding(1200)), 0, nil, 0, 1200},
		{"no change's size", two, with(t, true, noChange), 400, nil, 0, 0},
		{"port", two, with(t, false, responsePort(9)), 0, nil, 9, 0},
		{"port 0", two, with(t, false, responsePort(0)), 400, nil, 0, 0},
		{"padding", two, with(t, false, padding(1500)), 0, nil, 0, 1500},
		{"much padding", two, with(t, true, padding(60000)), 0, nil, 0, 1500},
		{"padding and port", two, with(t, true, padding(100), responsePort(9)), 400, nil, 0, 0},
		{"padding and change", two, with(t, true, padding(100), changeRequest(1)), 0, nil, 0, 100},
		{"unknown", two, with(t, true, stun.RawAttribute{Type: 0x0002}, changeRequest(1)), 420, []stun.AttrType{2}, 0, 0},
		{"unknown and known", one, with(t, false, stun.RawAttribute{Type: 0x7FFF}, changeRequest(1)), 420, []stun.AttrType{0x7FFF, 3}, 0, 0},
		{"ICE's", two, with(t, true, ice...), 420, []stun.AttrType{stun.AttrPriority, stun.AttrUseCandidate}, 0, 0},
		{"many unknown, some twice", two, with(t, true, append(many, many[:10]...)...), 420, manyTypes[:16], 0, 0},
		{"optional", two, with(t, false, stun.RawAttribute{Type: 0xFFFF}), 0, nil, 0, 0},
	} {
		for socket := range tt.g.conns {
			got := tt.g.plain(socket, home, tt.request)
			if got == nil {
				t.Errorf("%s: no answer", tt.name)
				continue
			}
			if code := got.code(t); code != tt.code {
				t.Errorf("%s: answered with %d, want %d", tt.name, code, tt.code)
			}
			want := home
			if tt.peerPort != 0 {
				want = netip.AddrPortFrom(home.Addr(), tt.peerPort)
			}
			if got.peer != want {
				t.Errorf("%s: answered to %v, want %v", tt.name, got.peer, want)
			}
			var unknown stun.UnknownAttributes
			_ = unknown.GetFrom(got.Message)
			if !slices.Equal(tt.unknown, []stun.AttrType(unknown)) {
				t.Errorf("%s: unknown %v, want %v", tt.name, unknown, tt.unknown)
			}
			if pad, err := got.Get(0x0026); len(pad) != tt.padding || (err == nil) != (tt.padding > 0) {
				t.Errorf("%s: %d bytes of padding, want %d", tt.name, len(pad), tt.padding)
			}
			if origin := got.told(t, 0x802b); (origin == places[got.socket]) != (tt.code == 0) {
				t.Errorf("%s: RESPONSE-ORIGIN %q from %s", tt.name, origin, places[got.socket])
			}
			if other := got.Contains(0x802c); other != (tt.g == two && tt.code == 0) {
				t.Errorf("%s: OTHER-ADDRESS: %v", tt.name, other)
			}
			if err := stun.Fingerprint.Check(got.Message); (err == nil) != strings.Contains(string(tt.request), "\x80\x28\x00\x04") {
				t.Errorf("%s: FINGERPRINT: %v", tt.name, err)
			}
		}
	}
	if s := two.reflector.Stats(); s.Refused[wire.CodeBadRequest] != 4*3 || s.Refused[wire.CodeUnknownAttribute] != 4*3 || s.PacketsOut != 4*11 {
		t.Errorf("counted %+v", s)
	}
}

// TestDiscoveryProbers: each socket of a server with two addresses serves
// probers too, from hello to burst.
func TestDiscoveryProbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newDiscoveryRig(t, Config{}, [2]netip.Addr{}, places)
		for i := range places {
			c := g.client(i, netip.AddrPortFrom(home.Addr(), uint16(41000+i)))
			c.place(flow, c.order(1e9, 1))
			after(2e9)
			if packets := g.take(i); len(packets) != 2 {
				t.Errorf("socket %d sent %d packets, want a burst and a beacon", i, len(packets))
			}
		}
	})
}

// TestDiscoveryEnds: where one of the sockets is gone, all end, with the reason.
func TestDiscoveryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := unservedRig(t, Config{}, places...)
		var d Discovery
		for i, conn := range g.conns {
			d.Conns[i/2][i%2] = []net.PacketConn{conn}
		}
		done := make(chan error, 1)
		go func() { done <- g.reflector.ServeDiscovery(t.Context(), d) }()
		synctest.Wait()
		g.conns[2].Close()
		if err := <-done; err == nil || !strings.Contains(err.Error(), places[2]) {
			t.Errorf("ServeDiscovery = %v, want one that names %s", err, places[2])
		}
	})
}

func TestDiscoveryErrors(t *testing.T) {
	for _, tt := range []struct{ primary, alternate, want string }{
		{"127.0.0.1:3478", "127.0.0.1:3479", "address must differ"},
		{"127.0.0.1:3478", "[::ffff:127.0.0.1]:3479", "address must differ"},
		{"127.0.0.1:3478", "127.0.0.2:3478", "port must differ"},
		{"127.0.0.1:3478", "[::1]:3479", "same family"},
		{"0.0.0.0:3478", "127.0.0.2:3479", "both named"},
		{"[fe80::1%1]:3478", "[2001:db8::1]:3479", "link-local"},
		{"[2001:db8::1]:3478", "[fe80::1%1]:3479", "link-local"},
		{"127.0.0.1:3478", "127.0.0.2:0", "both ports"},
	} {
		d, err := ListenDiscovery(t.Context(), netip.MustParseAddrPort(tt.primary), netip.MustParseAddrPort(tt.alternate), 1)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s and %s: %v, want %q", tt.primary, tt.alternate, err, tt.want)
		}
		if err == nil {
			d.Close()
		}
	}
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ServeDiscovery(t.Context(), Discovery{}); err == nil {
		t.Error("a server without sockets serves")
	}
	var d Discovery
	for i := range 4 {
		d.Conns[i/2][i%2] = []net.PacketConn{newMemConn(fmt.Sprintf("0.0.0.0:%d", 3478+i%2), nil)}
	}
	if err := r.ServeDiscovery(t.Context(), d); err == nil || !strings.Contains(err.Error(), "no address of its own") {
		t.Errorf("wildcards: %v", err)
	}
}
