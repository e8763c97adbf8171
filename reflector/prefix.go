package reflector

import (
	"encoding/binary"
	"net/netip"
)

// group is whom a limit counts: an address (IPv4, or IPv6 /64, which a token
// proves as one) or a network (IPv4 /24, or IPv6 /48).
type group struct {
	prefix uint64 // the leading bits, to the right
	v4     bool
	wide   bool
}

// address returns the group of one address.
func address(addr netip.Addr) group {
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		return group{prefix: uint64(binary.BigEndian.Uint32(b[:])), v4: true}
	}
	b := addr.As16()
	return group{prefix: binary.BigEndian.Uint64(b[:])}
}

// network returns the group of an address's /24 or /48.
func network(addr netip.Addr) group {
	g := address(addr)
	g.wide = true
	if g.v4 {
		g.prefix >>= 8
	} else {
		g.prefix >>= 16
	}
	return g
}

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
