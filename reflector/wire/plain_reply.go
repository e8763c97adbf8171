package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/pion/stun/v3"
)

// BindingReply answers a plain Binding request.
type BindingReply struct {
	ID     ID
	Mapped netip.AddrPort // XOR-MAPPED-ADDRESS, and MAPPED-ADDRESS as RFC 5780 section 6.1 asks
	// Origin and Other are RESPONSE-ORIGIN and OTHER-ADDRESS (RFC 5780 section
	// 7): from where the answer leaves, and the server's address and port that
	// differ in both from those that were asked. Invalid: left out.
	Origin, Other netip.AddrPort
	Pads          bool // with a PADDING
	Padding       int  // of so many bytes
	Fingerprint   bool // with a FINGERPRINT
}

// Encode returns the datagram.
func (r BindingReply) Encode() []byte { return r.Append(nil) }

// Append adds the datagram to b. Where b has room it allocates nothing.
func (r BindingReply) Append(b []byte) []byte {
	start := len(b)
	b = appendHeader(b, stun.BindingSuccess, r.ID)
	b = appendXOR(b, r.Mapped)
	b = appendAddress(b, stun.AttrMappedAddress, r.Mapped)
	if r.Origin.IsValid() {
		b = appendAddress(b, attrResponseOrigin, r.Origin)
	}
	if r.Other.IsValid() {
		b = appendAddress(b, attrOtherAddress, r.Other)
	}
	if r.Pads {
		b = appendAttribute(b, attrPlainPadding, r.Padding)
		b = append(b, padding[:min((r.Padding+3)&^3, len(padding))]...)
	}
	return closeMessage(b, start, r.Fingerprint)
}

// MaxPlainPadding is the longest PADDING of an answer: the MTU of nearly every
// path, so that the answer comes in fragments (RFC 5780 section 4.2).
const MaxPlainPadding = 1500

// padding is what PADDING consists of. RFC 5780 section 7.6 lets it be anything.
var padding [MaxPlainPadding]byte

// PlainError is the error response to a plain request. With
// CodeUnknownAttribute it lists what is unknown (RFC 8489 section 14.9).
type PlainError struct {
	ID          ID
	Code        Code
	Unknown     []uint16 // at most sixteen go along
	Fingerprint bool
}

// Encode returns the datagram.
func (r PlainError) Encode() []byte { return r.Append(nil) }

// Append adds the datagram to b. Where b has room it allocates nothing.
func (r PlainError) Append(b []byte) []byte {
	start := len(b)
	b = appendHeader(b, stun.BindingError, r.ID)
	reason := r.Code.reason()
	b = appendAttribute(b, stun.AttrErrorCode, 4+len(reason))
	b = append(b, 0, 0, uint8(r.Code/100), uint8(r.Code%100)) //nolint:gosec // codes have three digits
	b = appendPadded(b, reason)
	if unknown := r.Unknown[:min(len(r.Unknown), maxUnknown)]; r.Code == CodeUnknownAttribute {
		b = appendAttribute(b, stun.AttrUnknownAttributes, 2*len(unknown))
		for _, a := range unknown {
			b = binary.BigEndian.AppendUint16(b, a)
		}
		b = append(b, padding[:2*(len(unknown)%2)]...)
	}
	return closeMessage(b, start, r.Fingerprint)
}

// maxUnknown is more attributes than any client needs, and bounds what a request
// costs and the 420 response, to 72 bytes of payload without FINGERPRINT.
const maxUnknown = 16

const magicCookie = 0x2112A442

func appendHeader(b []byte, t stun.MessageType, id ID) []byte {
	b = binary.BigEndian.AppendUint16(b, t.Value())
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, magicCookie)
	return append(b, id[:]...)
}

func appendAttribute(b []byte, a stun.AttrType, size int) []byte {
	b = binary.BigEndian.AppendUint16(b, a.Value())
	return binary.BigEndian.AppendUint16(b, uint16(size)) //nolint:gosec // a datagram's size
}

func appendPadded(b []byte, s string) []byte {
	b = append(b, s...)
	return append(b, padding[:-len(s)&3]...)
}

const (
	familyIPv4 = 1
	familyIPv6 = 2
)

func appendAddress(b []byte, a stun.AttrType, ap netip.AddrPort) []byte {
	addr := ap.Addr().Unmap()
	if addr.Is4() {
		b = append(appendAttribute(b, a, 8), 0, familyIPv4)
		b = binary.BigEndian.AppendUint16(b, ap.Port())
		v4 := addr.As4()
		return append(b, v4[:]...)
	}
	b = append(appendAttribute(b, a, 20), 0, familyIPv6)
	b = binary.BigEndian.AppendUint16(b, ap.Port())
	v6 := addr.As16()
	return append(b, v6[:]...)
}

// appendXOR adds XOR-MAPPED-ADDRESS to a message of which only the header is
// there, the last twenty bytes of b.
func appendXOR(b []byte, ap netip.AddrPort) []byte {
	mask := b[len(b)-16:] // the magic cookie and the transaction id
	b = appendAddress(b, stun.AttrXORMappedAddress, ap)
	value := b[len(b)-4:]
	if !ap.Addr().Unmap().Is4() {
		value = b[len(b)-16:]
	}
	for i := range value {
		value[i] ^= mask[i]
	}
	port := b[len(b)-len(value)-2:]
	port[0] ^= mask[0]
	port[1] ^= mask[1]
	return b
}

// address reads an attribute that has the form of MAPPED-ADDRESS; invalid where
// it is absent or broken, as it is of no weight.
func address(m *stun.Message, a stun.AttrType) netip.AddrPort {
	var mapped stun.MappedAddress
	if mapped.GetFromAs(m, a) != nil {
		return netip.AddrPort{}
	}
	ip, _ := netip.AddrFromSlice(mapped.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(mapped.Port)) //nolint:gosec // 16 bits on the wire
}
