package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// Encode returns the datagram.
func (r HelloReply) Encode() []byte {
	m := begin(stun.ClassSuccessResponse, r.ID)
	addKind(m, KindHello)
	addMapped(m, r.Mapped)
	m.Add(attrToken, r.Token[:])
	m.Add(attrBoot, r.Boot[:])
	m.Add(attrLimits, r.Limits.encode())
	return m.Raw
}

// Encode returns the datagram.
func (r CheckReply) Encode() []byte {
	m := begin(stun.ClassSuccessResponse, r.ID)
	addKind(m, KindCheck)
	addMapped(m, r.Mapped)
	m.Add(attrBoot, r.Boot[:])
	return m.Raw
}

// Encode returns the datagram.
func (r QueryReply) Encode() []byte {
	m := begin(stun.ClassSuccessResponse, r.ID)
	addKind(m, KindQuery)
	addMapped(m, r.Mapped)
	m.Add(attrToken, r.Token[:])
	m.Add(attrBoot, r.Boot[:])
	addUint32s(m, attrCount, r.Seq, r.Received)
	if len(r.Receipts) > 0 {
		b := make([]byte, receiptSize*len(r.Receipts))
		for i, receipt := range r.Receipts {
			receipt.put(b[i*receiptSize : (i+1)*receiptSize])
		}
		m.Add(attrReceipts, b)
	}
	return m.Raw
}

// QueryReplySize returns the payload bytes of a QueryReply to addr with so many
// receipts.
func QueryReplySize(addr netip.Addr, receipts int) int {
	size := queryReplyIPv6
	if addr.Unmap().Is4() {
		size = queryReplyIPv4
	}
	if receipts > 0 {
		size += attributeHeader + receiptSize*receipts
	}
	return size
}

const (
	attributeHeader = 4
	queryReplyIPv4  = 88  // header 20, kind 8, address 12, token 24, boot 12, count 12
	queryReplyIPv6  = 100 // its address takes 24
)

// Encode returns the datagram.
func (r Refusal) Encode() []byte {
	m := begin(stun.ClassErrorResponse, r.ID)
	if r.Kind != KindNone {
		addKind(m, r.Kind)
	}
	e := stun.ErrorCodeAttribute{Code: stun.ErrorCode(r.Code), Reason: []byte(r.Code.reason())}
	_ = e.AddTo(m) // fails on a reason of over 763 bytes only
	if r.Limit != LimitNone {
		addUint32s(m, attrLimit, uint32(r.Limit)<<24, r.Value)
	}
	if r.Token != (Token{}) {
		m.Add(attrToken, r.Token[:])
	}
	if r.Boot != (BootID{}) {
		m.Add(attrBoot, r.Boot[:])
	}
	return m.Raw
}

func (c Code) reason() string {
	switch c {
	case CodeBadRequest:
		return "bad request"
	case CodeUnknownAttribute:
		return "unknown"
	case CodeUnknownSession:
		return "unknown session"
	case CodeStaleToken:
		return "stale token"
	case CodeQuota:
		return "quota"
	case CodeCapacity:
		return "capacity"
	default:
		return "error"
	}
}

// String returns the code with its reason.
func (c Code) String() string { return fmt.Sprintf("%d (%s)", int(c), c.reason()) }

// Encode returns the datagram, CopySize bytes.
func (c Burst) Encode() []byte { return c.Append(nil) }

// Append adds the datagram to b. Where b has room it allocates nothing.
func (c Burst) Append(b []byte) []byte { return c.append(b, attrBurst) }

// Encode returns the datagram, CopySize bytes.
func (c Beacon) Encode() []byte { return c.Append(nil) }

// Append adds the datagram to b. Where b has room it allocates nothing.
func (c Beacon) Append(b []byte) []byte { return c.append(b, attrBeacon) }

func (c Copy) append(b []byte, a stun.AttrType) []byte {
	start := len(b)
	b = appendHeader(b, stun.NewType(stun.MethodBinding, stun.ClassIndication), c.ID)
	b = append(appendAttribute(b, a, 8), clamp8(c.Index), clamp8(c.Of), 0, 0)
	return closeMessage(binary.BigEndian.AppendUint32(b, micros(c.Gap)), start, false)
}

// ParseReply decodes what a reflector or any STUN server sent. Its error is
// ErrNotSTUN or ErrMalformed.
func ParseReply(b []byte) (Reply, error) {
	m, err := decode(b)
	if err != nil {
		return nil, err
	}
	if m.Type.Method != stun.MethodBinding {
		return nil, ErrNotSTUN
	}
	switch m.Type.Class {
	case stun.ClassIndication:
		return parseCopy(m)
	case stun.ClassErrorResponse:
		return parseRefusal(m)
	case stun.ClassSuccessResponse:
		return parseSuccess(m)
	default:
		return nil, ErrNotSTUN
	}
}

func parseCopy(m *stun.Message) (Reply, error) {
	a := attrBurst
	if m.Contains(attrBeacon) {
		a = attrBeacon
	}
	b, err := get(m, a, 8)
	if err != nil {
		return nil, err
	}
	c := Copy{
		ID: m.TransactionID, Index: int(b[0]), Of: int(b[1]),
		Gap: time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Microsecond,
	}
	if c.Of < 1 || c.Of > MaxCopies || c.Index >= c.Of {
		return nil, malformed(a, len(b))
	}
	if a == attrBeacon {
		return Beacon{c}, nil
	}
	return Burst{c}, nil
}

func parseRefusal(m *stun.Message) (Reply, error) {
	var e stun.ErrorCodeAttribute
	if err := e.GetFrom(m); err != nil {
		return nil, fmt.Errorf("%w: no error code: %w", ErrMalformed, err)
	}
	if class := e.Code / 100; class < 3 || class > 6 { // RFC 8489 section 14.8
		return nil, fmt.Errorf("%w: error code %d", ErrMalformed, e.Code)
	}
	k, err := kind(m)
	if err != nil {
		return nil, err
	}
	r := Refusal{ID: m.TransactionID, Code: Code(e.Code), Kind: k}
	if m.Contains(attrLimit) {
		b, err := get(m, attrLimit, 8)
		if err != nil {
			return nil, err
		}
		r.Limit, r.Value = LimitKind(b[0]), binary.BigEndian.Uint32(b[4:])
	}
	if m.Contains(attrToken) {
		if r.Token, err = token(m); err != nil {
			return nil, err
		}
	}
	if m.Contains(attrBoot) {
		if r.Boot, err = boot(m); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func parseSuccess(m *stun.Message) (Reply, error) {
	ap, err := mapped(m)
	if err != nil {
		return nil, err
	}
	k, err := kind(m)
	if err != nil {
		return nil, err
	}
	switch k {
	case KindHello:
		r := HelloReply{ID: m.TransactionID, Mapped: ap}
		if r.Token, err = token(m); err != nil {
			return nil, err
		}
		if r.Boot, err = boot(m); err != nil {
			return nil, err
		}
		b, err := get(m, attrLimits, limitsSize)
		if err != nil {
			return nil, err
		}
		r.Limits = decodeLimits(b)
		return r, nil
	case KindCheck:
		r := CheckReply{ID: m.TransactionID, Mapped: ap}
		if r.Boot, err = boot(m); err != nil {
			return nil, err
		}
		return r, nil
	case KindQuery:
		return parseQueryReply(m, QueryReply{ID: m.TransactionID, Mapped: ap})
	case KindNone:
		return BindingReply{
			ID: m.TransactionID, Mapped: ap, Origin: address(m, attrResponseOrigin), Other: address(m, attrOtherAddress),
		}, nil
	default: // orders are never answered with success
		return nil, malformed(attrMessage, 4)
	}
}

func parseQueryReply(m *stun.Message, r QueryReply) (Reply, error) {
	var err error
	if r.Token, err = token(m); err != nil {
		return nil, err
	}
	if r.Boot, err = boot(m); err != nil {
		return nil, err
	}
	b, err := get(m, attrCount, 8)
	if err != nil {
		return nil, err
	}
	r.Seq, r.Received = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	b, err = m.Get(attrReceipts)
	if err != nil {
		return r, nil //nolint:nilerr // absent: no receipts
	}
	if len(b)%receiptSize != 0 || len(b) > receiptSize*MaxQueryIDs {
		return nil, malformed(attrReceipts, len(b))
	}
	for ; len(b) > 0; b = b[receiptSize:] {
		receipt, err := decodeReceipt(b[:receiptSize])
		if err != nil {
			return nil, err
		}
		r.Receipts = append(r.Receipts, receipt)
	}
	return r, nil
}
