package natlab

import (
	"net"
	"net/netip"
)

// segment is one link of the chain: a prefix with a host on each side.
type segment struct {
	prefix       netip.Prefix
	inner, outer netip.Addr // toward the client, toward the server
}

// plan gives every link of a lab its addresses: segments[i] is inside of box
// i, the last one is the link to the server. The kinds of addresses are those
// that such a path really has, so that software which classifies addresses
// sees a home network, a carrier's shared space (RFC 6598) and, outside, what
// looks public but is set aside for documentation (RFC 5737, RFC 3849).
func plan(spec Spec) []segment {
	last := len(spec.NATs)
	segments := make([]segment, 0, last+1)
	for i := range last + 1 {
		var base netip.Addr
		bits := 24
		switch {
		case spec.Family == IPv6:
			base, bits = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(i)}), 64
		case i == last:
			base = netip.AddrFrom4([4]byte{203, 0, 113, 0})
		case i == 0:
			base = netip.AddrFrom4([4]byte{192, 168, 1, 0})
		default:
			base = netip.AddrFrom4([4]byte{100, 64, byte(i), 0})
		}
		outer := base.Next()
		segments = append(segments, segment{
			prefix: netip.PrefixFrom(base, bits),
			outer:  outer,
			inner:  outer.Next(),
		})
	}
	return segments
}

// visibleFrom lists the inner segments whose addresses appear untranslated on
// segment k, nearest first: the node on its outer side needs a way back to
// them.
func visibleFrom(spec Spec, k int) []int {
	var visible []int
	for i := k - 1; i >= 0 && spec.NATs[i].None; i-- {
		visible = append(visible, i)
	}
	return visible
}

// The hardware addresses of every link (locally administered). Known
// beforehand, they let each side know the other without asking: ARP and
// neighbour discovery can take a second, which a gap must not contain.
func innerMAC() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 1} }
func outerMAC() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 2} }
