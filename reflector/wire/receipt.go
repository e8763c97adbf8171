package wire

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"
)

// ReceiptState says what became of an order.
type ReceiptState uint8

// The states of an order.
const (
	StateUnknown ReceiptState = iota // it never arrived, or is forgotten
	StatePending                     // it arrived, its burst is due
	StateSent                        // its burst has left, or it asked for none
)

// NotSent is the gap of a copy that could not be sent.
const NotSent time.Duration = -1

// Receipt is a reflector's account of one order.
type Receipt struct {
	ID         ID
	State      ReceiptState
	Duplicated bool           // the network delivered the order more than once
	From       netip.AddrPort // where the order came from: the flow's external address
	// Gaps holds for each copy the silence from the order's arrival to the
	// copy's departure on the reflector's monotonic clock, or NotSent. It is
	// empty unless State is StateSent, and where the order asked for no copies.
	// Resolution: 16 µs.
	Gaps []time.Duration
}

const (
	receiptSize = 60
	offsetUnit  = 16 * time.Microsecond
	offsetNone  = math.MaxUint16
)

// put encodes r into b, which has receiptSize bytes, all zero. PROTOCOL.md has
// the layout.
func (r Receipt) put(b []byte) {
	copy(b[:12], r.ID[:])
	b[12] = uint8(r.State)
	gaps := r.Gaps[:min(len(r.Gaps), MaxCopies)]
	b[13] = uint8(len(gaps)) //nolint:gosec // at most MaxCopies
	if r.Duplicated {
		b[14] = 1
	}
	if addr := r.From.Addr(); addr.IsValid() {
		binary.BigEndian.PutUint16(b[20:], r.From.Port())
		a16 := addr.As16()
		copy(b[22:38], a16[:])
	}
	first := NotSent
	for i, g := range gaps {
		v := uint16(offsetNone)
		if g != NotSent {
			if first == NotSent {
				first = g
				binary.BigEndian.PutUint32(b[16:], micros(g))
			}
			v = uint16(min(max((g-first)/offsetUnit, 0), offsetNone-1))
		}
		binary.BigEndian.PutUint16(b[38+2*i:], v)
	}
}

func decodeReceipt(b []byte) (Receipt, error) {
	r := Receipt{State: ReceiptState(b[12]), Duplicated: b[14]&1 != 0}
	n := int(b[13])
	if r.State > StateSent || n > MaxCopies {
		return Receipt{}, malformed(attrReceipts, len(b))
	}
	copy(r.ID[:], b[:12])
	if addr := netip.AddrFrom16([16]byte(b[22:38])).Unmap(); !addr.IsUnspecified() {
		r.From = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[20:]))
	}
	first := time.Duration(binary.BigEndian.Uint32(b[16:])) * time.Microsecond
	for i := range n {
		gap := NotSent
		if v := binary.BigEndian.Uint16(b[38+2*i:]); v != offsetNone {
			gap = first + time.Duration(v)*offsetUnit
		}
		r.Gaps = append(r.Gaps, gap)
	}
	return r, nil
}

func micros(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 0), math.MaxUint32))
}
