package wire

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/pion/stun/v3"
)

// The attributes of RFC 5780 section 7.
const (
	attrChangeRequest  stun.AttrType = 0x0003
	attrPlainPadding   stun.AttrType = 0x0026
	attrResponsePort   stun.AttrType = 0x0027
	attrResponseOrigin stun.AttrType = 0x802B
	attrOtherAddress   stun.AttrType = 0x802C
)

// Change says from where a plain request wants its answer (CHANGE-REQUEST, RFC
// 5780 section 7.2).
type Change uint8

// The flags of a Change.
const (
	ChangePort Change = 1 << iota // from the server's other port
	ChangeAddr                    // from the server's other address
)

// The flags on the wire.
const (
	changePortFlag = 0x02
	changeAddrFlag = 0x04
)

// Plain is a Binding request without natprobe attributes, as any STUN client
// sends it.
type Plain struct {
	ID           ID
	Changes      bool   // it has a CHANGE-REQUEST, whatever its size and flags
	Change       Change // its flags
	ResponsePort uint16 // RESPONSE-PORT; 0: none
	Pads         bool   // it has a PADDING
	Padding      int    // the length of that
	Fingerprint  bool   // it has a FINGERPRINT, and so must its answer
	Bad          bool   // its attributes break RFC 5780: 400

	unknown      [maxUnknown]uint16
	unknownCount int
}

// Unknown lists the comprehension-required attributes that the request has and
// this package doesn't know, each once, the first sixteen of them.
func (p *Plain) Unknown() []uint16 { return p.unknown[:p.unknownCount] }

// Reject adds an attribute to those that are unknown.
func (p *Plain) Reject(a uint16) {
	if p.unknownCount < maxUnknown && !slices.Contains(p.Unknown(), a) {
		p.unknown[p.unknownCount] = a
		p.unknownCount++
	}
}

// AttrChangeRequest is the number of CHANGE-REQUEST, which a server without a
// second address must answer with 420 (RFC 5780 section 6.1).
const AttrChangeRequest = uint16(attrChangeRequest)

// Form is what a datagram looks like to ParsePlain.
type Form uint8

// The forms.
const (
	FormForeign  Form = iota // no STUN request, one that its FINGERPRINT belies, or one that would be dear to read
	FormPlain                // a plain Binding request
	FormNatprobe             // a request with NP-MESSAGE, which ParseRequest reads
)

// maxAttributes is how many attributes a request may have: several times what any
// has, and few enough that nobody can make a server read for long.
const maxAttributes = 32

// ParsePlain reads a plain Binding request into p. It allocates nothing: on a
// public address most requests are of this kind.
func ParsePlain(b []byte, p *Plain) Form {
	if !IsSTUN(b) || binary.BigEndian.Uint16(b) != stun.BindingRequest.Value() {
		return FormForeign
	}
	size := headerSize + int(binary.BigEndian.Uint16(b[lengthAt:]))
	if size > len(b) {
		return FormForeign
	}
	*p = Plain{ID: ID(b[8:headerSize])}
	integrity := false // its attributes end there: RFC 8489 section 14.5
	natprobe := false  // it is read elsewhere
	for at, count := headerSize, 0; at < size; count++ {
		if size-at < attributeHeader || count == maxAttributes {
			return FormForeign
		}
		a := stun.AttrType(binary.BigEndian.Uint16(b[at:]))
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		value := at + attributeHeader
		next := value + (n+3)&^3
		if next > size {
			return FormForeign
		}
		if natprobe {
			at = next
			continue
		}
		if a == stun.AttrFingerprint && (next != size || !p.fingerprint(b[:at], b[value:value+n])) {
			return FormForeign
		}
		if !integrity {
			natprobe = a == attrMessage
			p.attribute(a, b[value:value+n])
			integrity = endsAttributes(a)
		}
		at = next
	}
	switch {
	case natprobe && len(b) <= MaxPayload:
		return FormNatprobe
	case natprobe:
		return FormForeign
	}
	if size != len(b) { // RFC 8489 section 5: the length is that of the whole message
		return FormForeign
	}
	p.Bad = p.Bad || p.Pads && p.ResponsePort != 0 // RFC 5780 section 6.1
	return FormPlain
}

// attribute takes an attribute. The first of a kind counts (RFC 8489 section
// 14).
func (p *Plain) attribute(a stun.AttrType, value []byte) {
	switch a {
	case attrChangeRequest:
		switch {
		case p.Changes:
		case len(value) != 4:
			p.Changes, p.Bad = true, true
		default:
			p.Changes = true
			if value[3]&changePortFlag != 0 {
				p.Change |= ChangePort
			}
			if value[3]&changeAddrFlag != 0 {
				p.Change |= ChangeAddr
			}
		}
	case attrResponsePort:
		switch {
		case p.ResponsePort != 0:
		case len(value) != 2 && len(value) != 4: // two of the four are padding, and counted by some
			p.Bad = true
		default:
			p.ResponsePort = binary.BigEndian.Uint16(value)
			p.Bad = p.Bad || p.ResponsePort == 0
		}
	case attrPlainPadding:
		if !p.Pads {
			p.Pads, p.Padding = true, len(value)
		}
	default:
		if a.Required() && !known(a) {
			p.Reject(a.Value())
		}
	}
}

// endsAttributes says whether what follows a is to be ignored (RFC 8489 sections
// 14.5 and 14.6). Of the exceptions, FINGERPRINT is looked at elsewhere, and
// MESSAGE-INTEGRITY-SHA256 means nothing to a server without credentials.
func endsAttributes(a stun.AttrType) bool {
	return a == stun.AttrMessageIntegrity || a == stun.AttrMessageIntegritySHA256
}

// fingerprint says whether value is the FINGERPRINT of a message (RFC 8489
// section 14.7).
func (p *Plain) fingerprint(message, value []byte) bool {
	p.Fingerprint = len(value) == 4 && binary.BigEndian.Uint32(value) == fingerprintOf(message)
	return p.Fingerprint
}

const (
	fingerprintXOR  = 0x5354554e
	fingerprintSize = attributeHeader + 4
)

// fingerprintOf is over all that stands before the attribute, with the length
// in the header counting it in.
func fingerprintOf(message []byte) uint32 { return crc32.ChecksumIEEE(message) ^ fingerprintXOR }

// closeMessage writes the length of the message that begins at start, and adds
// its FINGERPRINT where one is asked for.
func closeMessage(b []byte, start int, fingerprint bool) []byte {
	n := len(b) - start - headerSize
	if !fingerprint {
		setLength(b[start:], n)
		return b
	}
	setLength(b[start:], n+fingerprintSize)
	sum := fingerprintOf(b[start:])
	return binary.BigEndian.AppendUint32(appendAttribute(b, stun.AttrFingerprint, 4), sum)
}
