package natmodel

import "net/netip"

// DefaultTTL is the TTL (hop limit) with which hosts send when nothing else is
// asked for: the value of Linux and of most other systems.
const DefaultTTL = 64

// Packet is one UDP datagram as a NAT sees it.
type Packet struct {
	// Src and Dst are where the packet says it comes from and where it goes.
	// IPv4 addresses are plain, never IPv4-mapped IPv6.
	Src, Dst netip.AddrPort
	// TTL is the number of hops left, as it stands on arrival: a box that
	// forwards subtracts one and drops the packet where nothing is left.
	// A packet of TTL 0 or 1 is therefore not forwarded.
	TTL int
	// Payload is passed on untouched and never copied.
	Payload []byte
}
