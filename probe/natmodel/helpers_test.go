package natmodel

import (
	"net/netip"
	"testing"
	"time"
)

const sec = time.Second

type dur = time.Duration

var (
	clientA = netip.MustParseAddrPort("192.168.1.2:40000")
	clientB = netip.MustParseAddrPort("192.168.1.3:40000")
	server  = netip.MustParseAddrPort("203.0.113.1:3478")
	sibling = netip.MustParseAddrPort("203.0.113.1:3479") // same address, other port
	other   = netip.MustParseAddrPort("203.0.113.2:3478") // other address

	wan1 = netip.MustParseAddr("198.51.100.1")
	wan2 = netip.MustParseAddr("198.51.100.2")
	wan3 = netip.MustParseAddr("198.51.100.3")
)

// box drives one NAT in a test.
type box struct {
	t *testing.T
	*NAT
}

func newBox(t *testing.T, c Config) box {
	t.Helper()
	if !c.NoTranslation && c.External == nil {
		c.External = []netip.Addr{wan1}
	}
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return box{t, n}
}

func pkt(src, dst netip.AddrPort) Packet { return Packet{Src: src, Dst: dst, TTL: DefaultTTL} }

// send passes a packet out, which must leave, and returns its external endpoint.
func (b box) send(at time.Duration, src, dst netip.AddrPort) netip.AddrPort {
	b.t.Helper()
	p, ok := b.Outbound(at, pkt(src, dst))
	if !ok {
		b.t.Fatalf("at %v: %v to %v was dropped", at, src, dst)
	}
	if p.Dst != dst || p.TTL != DefaultTTL-1 {
		b.t.Fatalf("at %v: %v to %v left as %+v", at, src, dst, p)
	}
	return p.Src
}

// reply passes a packet in and says whether it reached want.
func (b box) reply(at time.Duration, src, external, want netip.AddrPort) bool {
	b.t.Helper()
	p, ok := b.Inbound(at, pkt(src, external))
	if ok && (p.Dst != want || p.Src != src || p.TTL != DefaultTTL-1) {
		b.t.Fatalf("at %v: %v to %v arrived as %+v, want it at %v", at, src, external, p, want)
	}
	return ok
}

// alive looks at the table, so that asking doesn't refresh anything.
func (b box) alive(at time.Duration, external, remote netip.AddrPort) bool {
	m := b.table.outside[tuple{external, b.lookupBy.of(remote)}]
	return m != nil && b.live(m, at)
}

// lifetime finds by bisection how long after from the mapping dies.
func (b box) lifetime(from time.Duration, external, remote netip.AddrPort) time.Duration {
	lo, hi := time.Duration(0), time.Hour
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if b.alive(from+mid, external, remote) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
