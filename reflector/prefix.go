package reflector

import (
	"net/netip"

	"github.com/natprobe/natprobe/reflector/wire"
)

// group is whom a limit counts: an address (IPv4, or IPv6 /64, which a token
// proves as one) or a network (IPv4 /24, or IPv6 /48).
type group struct {
	prefix [16]byte
	wide   bool
}

// address returns the group of one address.
func address(addr netip.Addr) group { return group{prefix: wire.Prefix(addr)} }

// network returns the group of an address's /24 or /48.
func network(addr netip.Addr) group {
	g := group{prefix: wire.Prefix(addr), wide: true}
	if addr.Unmap().Is4() {
		g.prefix[15] = 0
	} else {
		clear(g.prefix[6:])
	}
	return g
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
