package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Limits is what a reflector grants a prober. It advertises and enforces them.
type Limits struct {
	MaxDelay  time.Duration // longest delay of an order, whole seconds, to 65,535 s
	MaxCopies int           // copies in a burst, 1 to MaxCopies
	Pending   int           // orders that one address may have pending
	PPS       int           // packets per second that one address may send; 0: no limit
	// EgressGap is the longest silence, whole seconds, after which a packet was
	// proven to leave the reflector's own network unaided; 0: not proven.
	EgressGap time.Duration
}

// LimitKind says which limit an order or a request met.
type LimitKind uint8

// The limits.
const (
	LimitNone     LimitKind = iota
	LimitDelay              // the order's delay is above Limits.MaxDelay
	LimitCopies             // the burst is above Limits.MaxCopies
	LimitPending            // the address has Limits.Pending orders pending
	LimitRate               // the address sends more than Limits.PPS, with a token or without
	LimitSlot               // too many packets are due to the address or its prefix at that moment
	LimitMemory             // the reflector's memory for orders is full, or the sender's share of it
	LimitSessions           // the address has its sessions, or the reflector's memory for them or the sender's share is full
	LimitPayment            // the request is too small to pay for what it asks for
)

var limitNames = [...]string{
	LimitNone: "none", LimitDelay: "delay", LimitCopies: "copies", LimitPending: "pending orders",
	LimitRate: "packet rate", LimitSlot: "slot full", LimitMemory: "memory", LimitSessions: "sessions",
	LimitPayment: "padding",
}

// String returns the limit's name.
func (k LimitKind) String() string {
	if int(k) < len(limitNames) {
		return limitNames[k]
	}
	return fmt.Sprintf("limit %d", uint8(k))
}

const limitsSize = 16

func (l Limits) encode() []byte {
	b := make([]byte, limitsSize)
	binary.BigEndian.PutUint16(b[0:], clamp16(l.MaxDelay/time.Second))
	b[2] = clamp8(l.MaxCopies)
	binary.BigEndian.PutUint32(b[4:], clamp32(int64(l.Pending)))
	binary.BigEndian.PutUint32(b[8:], clamp32(int64(l.PPS)))
	binary.BigEndian.PutUint16(b[12:], clamp16(l.EgressGap/time.Second))
	return b
}

// decodeLimits takes limitsSize bytes.
func decodeLimits(b []byte) Limits {
	return Limits{
		MaxDelay:  time.Duration(binary.BigEndian.Uint16(b[0:])) * time.Second,
		MaxCopies: int(b[2]),
		Pending:   int(binary.BigEndian.Uint32(b[4:])),
		PPS:       int(binary.BigEndian.Uint32(b[8:])),
		EgressGap: time.Duration(binary.BigEndian.Uint16(b[12:])) * time.Second,
	}
}

func clamp8(n int) uint8 { return uint8(min(max(n, 0), math.MaxUint8)) }

func clamp16(d time.Duration) uint16 {
	return uint16(min(max(d, 0), math.MaxUint16))
}

func clamp32(n int64) uint32 {
	return uint32(min(max(n, 0), math.MaxUint32))
}
