package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/stun/v3"
)

// ErrNotSTUN reports a datagram that is no STUN message with a magic cookie.
var ErrNotSTUN = errors.New("not a STUN message")

// ErrMalformed reports a STUN message whose natprobe attributes break
// PROTOCOL.md.
var ErrMalformed = errors.New("malformed natprobe message")

// The natprobe attributes, from the comprehension-optional range that RFC 8489
// section 14 leaves to designated experts. PROTOCOL.md specifies them.
const (
	attrMessage  stun.AttrType = 0xC0F0
	attrSession  stun.AttrType = 0xC0F1
	attrToken    stun.AttrType = 0xC0F2
	attrOrder    stun.AttrType = 0xC0F3
	attrQuery    stun.AttrType = 0xC0F4
	attrReceipts stun.AttrType = 0xC0F5
	attrBoot     stun.AttrType = 0xC0F6
	attrLimits   stun.AttrType = 0xC0F7
	attrBurst    stun.AttrType = 0xC0F8
	attrBeacon   stun.AttrType = 0xC0F9
	attrLimit    stun.AttrType = 0xC0FA
	attrCount    stun.AttrType = 0xC0FB
	attrPadding  stun.AttrType = 0xC0FC
	attrMAC      stun.AttrType = 0xC0FD
)

// version is the protocol's version in NP-MESSAGE. A message of another
// version is malformed to this one.
const version = 1

// IsSTUN reports whether b starts as a STUN message with a magic cookie does.
// It is cheap, and false for every WireGuard packet.
func IsSTUN(b []byte) bool { return stun.IsMessage(b) }

func malformed(a stun.AttrType, n int) error {
	return fmt.Errorf("%w: attribute %#04x of %d bytes", ErrMalformed, uint16(a), n)
}

func decode(b []byte) (*stun.Message, error) {
	if !stun.IsMessage(b) {
		return nil, ErrNotSTUN
	}
	m := &stun.Message{Raw: b}
	if err := m.Decode(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSTUN, err)
	}
	return m, nil
}

func begin(class stun.MessageClass, id ID) *stun.Message {
	m := stun.New()
	m.Type = stun.NewType(stun.MethodBinding, class)
	m.TransactionID = id
	m.WriteHeader()
	return m
}

func addKind(m *stun.Message, k Kind) { m.Add(attrMessage, []byte{version, byte(k), 0, 0}) }

// kind returns KindNone for plain STUN.
func kind(m *stun.Message) (Kind, error) {
	b, err := m.Get(attrMessage)
	if err != nil {
		return KindNone, nil //nolint:nilerr // absent: plain STUN
	}
	if len(b) != 4 || b[0] != version || Kind(b[1]) < KindHello || Kind(b[1]) > KindQuery {
		return KindNone, malformed(attrMessage, len(b))
	}
	return Kind(b[1]), nil
}

// pad grows m to size bytes with NP-PADDING. An attribute takes at least four
// bytes and STUN aligns to four, so m may end up to three bytes above size.
func pad(m *stun.Message, size int) {
	if missing := size - len(m.Raw); missing > 0 {
		m.Add(attrPadding, make([]byte, (max(missing-attributeHeader, 0)+3)&^3))
	}
}

func get(m *stun.Message, a stun.AttrType, size int) ([]byte, error) {
	b, err := m.Get(a)
	if err != nil {
		return nil, fmt.Errorf("%w: attribute %#04x is missing", ErrMalformed, uint16(a))
	}
	if len(b) != size {
		return nil, malformed(a, len(b))
	}
	return b, nil
}

func addMapped(m *stun.Message, ap netip.AddrPort) {
	a := stun.XORMappedAddress{IP: net.IP(ap.Addr().Unmap().AsSlice()), Port: int(ap.Port())}
	_ = a.AddTo(m) // fails on an invalid IP only, and ap is the source of a packet
}

func mapped(m *stun.Message) (netip.AddrPort, error) {
	attr := stun.AttrXORMappedAddress
	b, err := m.Get(attr)
	var a stun.XORMappedAddress
	if err == nil {
		err = a.GetFrom(m)
	} else {
		attr = stun.AttrMappedAddress // all that a server older than RFC 5389 has
		if b, err = m.Get(attr); err == nil {
			err = (*stun.MappedAddress)(&a).GetFrom(m)
		}
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: no mapped address: %w", ErrMalformed, err)
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok || len(b) != 4+len(a.IP) {
		return netip.AddrPort{}, malformed(attr, len(b))
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)), nil //nolint:gosec // 16 bits on the wire
}

func token(m *stun.Message) (t Token, err error) {
	b, err := get(m, attrToken, TokenSize)
	if err != nil {
		return t, err
	}
	return Token(b), nil
}

// optionalToken returns the token of a message that may come without.
func optionalToken(m *stun.Message) (t Token, err error) {
	if !m.Contains(attrToken) {
		return t, nil
	}
	return token(m)
}

func boot(m *stun.Message) (id BootID, err error) {
	b, err := get(m, attrBoot, len(id))
	if err != nil {
		return id, err
	}
	return BootID(b), nil
}

func addUint32s(m *stun.Message, a stun.AttrType, values ...uint32) {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	m.Add(a, b)
}
