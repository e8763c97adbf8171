package natlab

import (
	"net"
	"net/netip"
)

// segment is one link of a chain: a prefix with a host on each side.
type segment struct {
	prefix             netip.Prefix
	inner, outer       netip.Addr // toward the client, toward the server
	innerMAC, outerMAC net.HardwareAddr
}

// pool returns the first n addresses of the link's inner side: those of a box
// that translates to several.
func (s segment) pool(n int) []netip.Addr {
	addrs := []netip.Addr{s.inner}
	for len(addrs) < n {
		addrs = append(addrs, addrs[len(addrs)-1].Next())
	}
	return addrs
}

// The client's uplinks: how it reaches the server as a rule, and by another way
// (Spec.Elsewhere).
const (
	usual = iota
	elsewhere
)

// plan gives every link of a chain of boxes its addresses: segments[i] is
// inside of box i, the last one is the link to the server. The kinds of
// addresses are those that such a path really has, so that software which
// classifies addresses sees a home network, a carrier's shared space (RFC 6598)
// and, outside, what looks public but is set aside for documentation (RFC 5737,
// RFC 3849). No two links of a lab share a prefix, whatever their uplinks.
//
// The hardware addresses (locally administered) are the same on every link of
// an uplink, and others on the other one. Known beforehand, they let each side
// know the other without asking: ARP and neighbour discovery can take a second,
// which a gap must not contain.
func plan(family Family, boxes, uplink int) []segment {
	way := byte(uplink) //nolint:gosec // 0 or 1
	segments := make([]segment, 0, boxes+1)
	for i := range boxes + 1 {
		var base netip.Addr
		bits := 24
		switch {
		case family == IPv6:
			base, bits = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, way, byte(i)}), 64
		case i == boxes && uplink == usual:
			base = netip.AddrFrom4([4]byte{203, 0, 113, 0})
		case i == boxes:
			base = netip.AddrFrom4([4]byte{198, 51, 100, 0})
		case i == 0:
			base = netip.AddrFrom4([4]byte{192, 168, 1 + way, 0})
		default:
			base = netip.AddrFrom4([4]byte{100, 64 + way, byte(i), 0})
		}
		outer := base.Next()
		segments = append(segments, segment{
			prefix:   netip.PrefixFrom(base, bits),
			outer:    outer,
			inner:    outer.Next(),
			innerMAC: net.HardwareAddr{2, 0, 0, 0, way, 1},
			outerMAC: net.HardwareAddr{2, 0, 0, 0, way, 2},
		})
	}
	return segments
}

// clientSegment returns the segment on whose inner side the client seems to be
// for box k of a chain: its own, unless others translate on the way.
func clientSegment(nats []NATSpec, k int) int {
	if visible := visibleFrom(nats, k); len(visible) > 0 {
		return visible[len(visible)-1]
	}
	return k
}

// visibleFrom lists the inner segments whose addresses appear untranslated on
// segment k of a chain, nearest first: the node on its outer side needs a way
// back to them.
func visibleFrom(nats []NATSpec, k int) []int {
	var visible []int
	for i := k - 1; i >= 0 && nats[i].None; i-- {
		visible = append(visible, i)
	}
	return visible
}
