package wire

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/pion/stun/v3"
)

// Payload sizes in bytes, chosen so that a request pays for its largest
// answer: PROTOCOL.md has the sums, and a test compares.
const (
	helloSize = 132
	checkSize = 80
	orderMin  = 148 // pays for a refusal with a fresh token
	queryBase = 124 // pays for an answer without receipts, or a refusal

	// CopySize is the payload of one packet of a burst, or of a beacon.
	CopySize = 32
)

// Encode returns the datagram.
func (r Binding) Encode() []byte { return begin(stun.ClassRequest, r.ID).Raw }

// Encode returns the datagram, padded to pay for its answer.
func (r Hello) Encode() []byte { return simple(r.ID, KindHello, r.Token, helloSize) }

// Encode returns the datagram, padded to pay for its answer.
func (r Check) Encode() []byte { return simple(r.ID, KindCheck, r.Token, checkSize) }

// simple returns a request whose size is the same with a token and without.
func simple(id ID, k Kind, t Token, size int) []byte {
	m := begin(stun.ClassRequest, id)
	addKind(m, k)
	if t != (Token{}) {
		m.Add(attrToken, t[:])
	}
	pad(m, size)
	return m.Raw
}

// OrderSize returns the payload bytes that an order needs to pay for its burst
// (and beacons, where asked) at an IP header of the given size.
func OrderSize(copies int, beacons bool, ipv6 bool) int {
	header := ipv4Header
	if ipv6 {
		header = ipv6Header
	}
	packets := copies
	if beacons {
		packets *= 2
	}
	return max(orderMin, packets*(CopySize+udpHeader+header)-udpHeader-header)
}

// Encode returns the datagram, padded to r.Size.
func (r Order) Encode() []byte {
	m := begin(stun.ClassRequest, r.ID)
	addKind(m, KindOrder)
	m.Add(attrSession, append(r.Session[:], 0, 0, 0, 0))
	for _, t := range r.Tokens {
		m.Add(attrToken, t[:])
	}
	b := make([]byte, 8)
	binary.BigEndian.PutUint32(b[0:], clamp32(int64(r.Delay/time.Millisecond)))
	binary.BigEndian.PutUint16(b[4:], clamp16(r.Spread/time.Millisecond))
	b[6] = clamp8(r.Copies)
	m.Add(attrOrder, b)
	pad(m, max(r.Size, orderMin))
	return m.Raw
}

// Encode returns the datagram, padded to pay for its answer and to r.Size.
func (r Query) Encode() []byte {
	m := begin(stun.ClassRequest, r.ID)
	addKind(m, KindQuery)
	m.Add(attrSession, binary.BigEndian.AppendUint32(append([]byte(nil), r.Session[:]...), r.Seq))
	m.Add(attrToken, r.Token[:])
	if len(r.Orders) > 0 {
		ids := make([]byte, 0, 12*len(r.Orders))
		for _, id := range r.Orders {
			ids = append(ids, id[:]...)
		}
		m.Add(attrQuery, ids)
	}
	pad(m, max(r.Size, queryBase+receiptSize*len(r.Orders)))
	return m.Raw
}

// ParseRequest decodes what a prober or any STUN client sent. Its error is
// ErrNotSTUN for a foreign datagram and for STUN that is no Binding request,
// ErrMalformed for broken natprobe attributes. With ErrMalformed a request's id
// comes along in a Binding, so that it can be answered with 400.
func ParseRequest(b []byte) (Request, error) {
	m, err := decode(b)
	if err != nil {
		return nil, err
	}
	if m.Type.Method != stun.MethodBinding {
		return nil, ErrNotSTUN
	}
	if i := slices.IndexFunc(m.Attributes, func(a stun.RawAttribute) bool { return endsAttributes(a.Type) }); i >= 0 {
		m.Attributes = m.Attributes[:i+1]
	}
	k, err := kind(m)
	switch {
	case m.Type.Class != stun.ClassRequest:
		return nil, ErrNotSTUN
	case err != nil:
		return Binding{ID: m.TransactionID}, err
	}
	plain := parseBinding(m)
	if len(plain.Unknown) > 0 {
		return plain, nil
	}
	var r Request
	switch k {
	case KindNone:
		r = plain
	case KindHello:
		hello := Hello{ID: m.TransactionID}
		hello.Token, err = optionalToken(m)
		r = hello
	case KindCheck:
		check := Check{ID: m.TransactionID}
		check.Token, err = optionalToken(m)
		r = check
	case KindOrder:
		r, err = parseOrder(m)
	case KindQuery:
		r, err = parseQuery(m)
	}
	if err != nil {
		return Binding{ID: m.TransactionID}, err
	}
	return r, nil
}

func parseBinding(m *stun.Message) Binding {
	r := Binding{ID: m.TransactionID}
	for _, a := range m.Attributes {
		if a.Type.Required() && !known(a.Type) && len(r.Unknown) < maxUnknown && !slices.Contains(r.Unknown, a.Type.Value()) {
			r.Unknown = append(r.Unknown, a.Type.Value())
		}
	}
	return r
}

// known lists the comprehension-required attributes that a Binding request may
// carry without harm: they mean nothing to a server without credentials. Those
// of ICE (PRIORITY and USE-CANDIDATE, RFC 8445 section 16.1) are not among them:
// who sends them takes the server for a peer.
func known(a stun.AttrType) bool {
	switch a {
	case stun.AttrUsername, stun.AttrRealm, stun.AttrNonce, stun.AttrMessageIntegrity,
		stun.AttrMessageIntegritySHA256, stun.AttrPasswordAlgorithm, stun.AttrUserhash:
		return true
	default:
		return false
	}
}

func parseOrder(m *stun.Message) (Order, error) {
	r := Order{ID: m.TransactionID, Size: len(m.Raw)}
	s, err := get(m, attrSession, 12)
	if err != nil {
		return r, err
	}
	r.Session = SessionID(s[:8])
	for _, a := range m.Attributes {
		if a.Type != attrToken {
			continue
		}
		if len(a.Value) != TokenSize || len(r.Tokens) == MaxTokens {
			return r, malformed(attrToken, len(a.Value))
		}
		r.Tokens = append(r.Tokens, Token(a.Value))
	}
	b, err := get(m, attrOrder, 8)
	if err != nil {
		return r, err
	}
	r.Delay = time.Duration(binary.BigEndian.Uint32(b[0:])) * time.Millisecond
	r.Spread = time.Duration(binary.BigEndian.Uint16(b[4:])) * time.Millisecond
	r.Copies = int(b[6])
	if len(r.Tokens) == 0 {
		return r, malformed(attrToken, 0)
	}
	if r.Copies > MaxCopies || r.Copies > 0 && r.Spread > MaxSpread {
		return r, malformed(attrOrder, len(b))
	}
	return r, nil
}

func parseQuery(m *stun.Message) (Query, error) {
	r := Query{ID: m.TransactionID, Size: len(m.Raw)}
	s, err := get(m, attrSession, 12)
	if err != nil {
		return r, err
	}
	r.Session = SessionID(s[:8])
	r.Seq = binary.BigEndian.Uint32(s[8:])
	if r.Token, err = token(m); err != nil {
		return r, err
	}
	ids, err := m.Get(attrQuery)
	if err != nil {
		return r, nil //nolint:nilerr // absent: nothing asked
	}
	if len(ids)%12 != 0 || len(ids) > 12*MaxQueryIDs {
		return r, malformed(attrQuery, len(ids))
	}
	for ; len(ids) > 0; ids = ids[12:] {
		r.Orders = append(r.Orders, ID(ids[:12]))
	}
	return r, nil
}
