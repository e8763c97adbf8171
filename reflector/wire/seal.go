package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

const (
	// SealSize is what a seal adds to a message, in bytes.
	SealSize = attributeHeader + macSize

	macSize = 16
	// lengthAt is where a STUN header has the length of what follows it.
	lengthAt, headerSize = 2, 20
)

// Seal closes and opens messages for a port that is shared with WireGuard. Who
// doesn't know the key gets no answer there, as from WireGuard itself. It is
// safe for concurrent use.
type Seal struct{ key []byte }

// NewSeal returns the seal of the server with a WireGuard public key: its peers
// have the key, strangers don't.
func NewSeal(publicKey [32]byte) *Seal {
	mac := hmac.New(sha256.New, publicKey[:])
	mac.Write([]byte("natprobe seal"))
	return &Seal{key: mac.Sum(nil)}
}

// Close returns a message with the seal as its last attribute, in memory of its
// own. What is no STUN message is returned as it is.
func (s *Seal) Close(message []byte) []byte {
	if !IsSTUN(message) {
		return message
	}
	sealed := make([]byte, len(message), len(message)+SealSize)
	copy(sealed, message)
	setLength(sealed, len(message)-headerSize+SealSize)
	sum := s.sum(sealed)
	sealed = binary.BigEndian.AppendUint16(sealed, uint16(attrMAC))
	sealed = binary.BigEndian.AppendUint16(sealed, macSize)
	return append(sealed, sum...)
}

// Open checks the seal of a datagram, in constant time, and takes it off: the
// message that was closed is in the same memory. It reports false, and leaves
// the datagram alone, where there is no seal or not this one.
func (s *Seal) Open(datagram []byte) ([]byte, bool) {
	n := len(datagram) - SealSize
	if n < headerSize || !IsSTUN(datagram) || int(binary.BigEndian.Uint16(datagram[lengthAt:])) != len(datagram)-headerSize {
		return nil, false
	}
	seal := datagram[n:]
	if binary.BigEndian.Uint16(seal) != uint16(attrMAC) || binary.BigEndian.Uint16(seal[2:]) != macSize {
		return nil, false
	}
	if !hmac.Equal(s.sum(datagram[:n]), seal[attributeHeader:]) {
		return nil, false
	}
	setLength(datagram, n-headerSize)
	return datagram[:n], true
}

// sum is over the message up to the seal, whose size the header's length
// includes already (as with MESSAGE-INTEGRITY, RFC 8489 section 14.5).
func (s *Seal) sum(message []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(message)
	return mac.Sum(nil)[:macSize]
}

func setLength(message []byte, n int) {
	binary.BigEndian.PutUint16(message[lengthAt:], uint16(n)) //nolint:gosec // a datagram's size
}
