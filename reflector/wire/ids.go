package wire

import (
	"crypto/rand"
	"encoding/hex"
	"net/netip"
)

// ID is a STUN transaction id (RFC 8489 section 5). It names a request and,
// for an order, the burst and the beacons that it leads to.
type ID [12]byte

// NewID returns a random ID. An address off the path can't guess it.
func NewID() (id ID) {
	fill(id[:])
	return id
}

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// SessionID names the control flow of one measurement. Whoever knows it may
// move the session's control flow, so it is random and never logged.
type SessionID [8]byte

// NewSessionID returns a random SessionID.
func NewSessionID() (id SessionID) {
	fill(id[:])
	return id
}

// BootID names one life of a reflector: it changes whenever orders were lost.
type BootID [8]byte

// NewBootID returns a random BootID.
func NewBootID() (id BootID) {
	fill(id[:])
	return id
}

// String returns the id in hexadecimal.
func (id BootID) String() string { return hex.EncodeToString(id[:]) }

// fill never fails: crypto/rand.Read either fills its argument or ends the
// program (Go 1.24 and later).
func fill(b []byte) { _, _ = rand.Read(b) }

const (
	ipv4Header = 20
	ipv6Header = 40
	udpHeader  = 8
)

// IPBytes returns the size in bytes of the IP packet that carries a UDP
// payload of the given length to or from addr, without options or extensions.
func IPBytes(addr netip.Addr, payload int) int {
	if addr.Unmap().Is4() {
		return payload + udpHeader + ipv4Header
	}
	return payload + udpHeader + ipv6Header
}
