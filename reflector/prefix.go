package reflector

import (
	"encoding/binary"
	"net/netip"

	"github.com/natprobe/natprobe/reflector/wire"
)

// group is whom a limit counts: an address and those near it.
type group struct {
	prefix uint64 // the leading bits, to the right
	v4     bool
	width  width
}

// width is how much of the Internet a group is.
type width uint8

const (
	oneAddress width = iota // IPv4, or IPv6 /64, which a token proves as one
	oneNetwork              // IPv4 /24, or IPv6 /48: what one subscriber of IPv6 has
	oneRegion               // IPv4 /16, or IPv6 /32: what one provider has, at least
	oneFamily               // all of IPv4, or all of IPv6
)

// widths are the bits that a group's prefix leaves out, of those of an address.
var (
	narrower4 = [...]int{oneAddress: 0, oneNetwork: 8, oneRegion: 16, oneFamily: 32}
	narrower6 = [...]int{oneAddress: 0, oneNetwork: 16, oneRegion: 32, oneFamily: 64}
)

// groupOf returns the group of an address.
func groupOf(addr netip.Addr, w width) group {
	if addr = wire.Translated(addr); addr.Is4() {
		b := addr.As4()
		return group{prefix: uint64(binary.BigEndian.Uint32(b[:])) >> narrower4[w], v4: true, width: w}
	}
	b := addr.As16()
	return group{prefix: binary.BigEndian.Uint64(b[:]) >> narrower6[w], width: w}
}

func address(addr netip.Addr) group { return groupOf(addr, oneAddress) }
func network(addr netip.Addr) group { return groupOf(addr, oneNetwork) }

// family numbers the families of addresses: IPv4 is 0.
func family(addr netip.Addr) int {
	if addr.Is4() {
		return 0
	}
	return 1
}

// masked returns an address's /24 or /48, which is all that a log may show.
func masked(addr netip.Addr) netip.Prefix {
	bits := 48
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		bits = 24
	}
	p, _ := addr.Prefix(bits) // fails on bits out of range only
	return p
}

// answerable says whether a datagram's source can be one host.
func answerable(from netip.AddrPort) bool {
	addr := from.Addr()
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return addr.IsValid() && from.Port() != 0 && !addr.IsUnspecified() && !addr.IsMulticast() && addr.Unmap() != broadcast
}
