package wire

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pion/stun/v3"
)

var (
	id4   = ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	other = ID{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
	from4 = netip.MustParseAddrPort("198.51.100.7:40000")
	from6 = netip.MustParseAddrPort("[2001:db8:1:2::3]:40000")

	sampleSession = SessionID{9, 8, 7, 6, 5, 4, 3, 2}
	sampleBoot    = BootID{1, 1, 2, 3, 5, 8, 13, 21}
	sampleToken   = Token{0x70, 0, 0, 0, 4, 5, 6}
	sampleLimits  = Limits{MaxDelay: 600 * time.Second, MaxCopies: 10, Pending: 1024, PPS: 400, EgressGap: 350 * time.Second}

	byValue = cmpopts.EquateComparable(netip.AddrPort{})
)

// sampleRequests has every request, some in several forms. Size is what a
// parser sees, so it is given where it is not zero.
func sampleRequests() map[string]Request {
	return map[string]Request{
		"binding":            Binding{ID: id4},
		"hello":              Hello{ID: id4},
		"check":              Check{ID: id4},
		"hello with a token": Hello{ID: id4, Token: sampleToken},
		"check with a token": Check{ID: id4, Token: sampleToken},
		"order": Order{
			ID: id4, Session: sampleSession, Tokens: []Token{sampleToken},
			Delay: 30 * time.Second, Spread: 400 * time.Millisecond, Copies: 3, Size: orderMin,
		},
		"order of no copies": Order{
			ID: id4, Session: sampleSession, Tokens: []Token{sampleToken}, Spread: 2 * MaxSpread, Size: orderMin,
		},
		"order at its limits": Order{
			ID: id4, Session: sampleSession, Tokens: []Token{sampleToken, {1}, {2}, {3}},
			Delay: (1<<32 - 1) * time.Millisecond, Spread: MaxSpread, Copies: MaxCopies, Size: MaxPayload,
		},
		"query": Query{ID: id4, Session: sampleSession, Token: sampleToken, Seq: 7, Size: queryBase},
		"query for orders": Query{
			ID: id4, Session: sampleSession, Token: sampleToken, Seq: 1<<32 - 1, Orders: []ID{id4, other}, Size: 400,
		},
		"query for all orders": Query{
			ID: id4, Session: sampleSession, Token: sampleToken, Orders: make([]ID, MaxQueryIDs), Size: queryBase + receiptSize*MaxQueryIDs,
		},
	}
}

// sampleReplies has every reply, some in several forms.
func sampleReplies() map[string]Reply {
	copies := Copy{ID: other, Index: 2, Of: 3, Gap: 30*time.Second + 123456*time.Microsecond}
	receipts := []Receipt{
		{ID: id4},
		{ID: other, State: StatePending, From: from6, Duplicated: true},
		{ID: id4, State: StateSent, From: from4, Gaps: []time.Duration{
			NotSent, 30 * time.Second, 30*time.Second + 160*time.Microsecond, NotSent, 31*time.Second + 16*time.Millisecond,
		}},
	}
	return map[string]Reply{
		"binding":                  BindingReply{ID: id4, Mapped: from4},
		"binding IPv6":             BindingReply{ID: id4, Mapped: from6},
		"binding of two addresses": BindingReply{ID: id4, Mapped: from4, Origin: from4, Other: from6},
		"hello":                    HelloReply{ID: id4, Mapped: from4, Token: sampleToken, Boot: sampleBoot, Limits: sampleLimits},
		"hello IPv6":               HelloReply{ID: id4, Mapped: from6, Token: sampleToken, Boot: sampleBoot},
		"check":                    CheckReply{ID: id4, Mapped: from4, Boot: sampleBoot},
		"check IPv6":               CheckReply{ID: id4, Mapped: from6, Boot: sampleBoot},
		"query":                    QueryReply{ID: id4, Mapped: from4, Token: sampleToken, Boot: sampleBoot, Seq: 7, Received: 6},
		"query with receipts": QueryReply{
			ID: id4, Mapped: from6, Token: sampleToken, Boot: sampleBoot, Seq: 1<<32 - 1, Received: 1<<32 - 1, Receipts: receipts,
		},
		"refusal": Refusal{ID: id4, Code: CodeBadRequest},
		"refusal of an order": Refusal{
			ID: id4, Code: CodeQuota, Limit: LimitSlot, Value: 1 << 31, Token: sampleToken, Boot: sampleBoot, Kind: KindOrder,
		},
		"burst":           Burst{copies},
		"beacon":          Beacon{copies},
		"burst, 1st of 1": Burst{Copy{ID: id4, Of: 1, Gap: (1<<32 - 1) * time.Microsecond}},
	}
}

func encodeRequest(r Request) []byte { return r.(interface{ Encode() []byte }).Encode() }
func encodeReply(r Reply) []byte     { return r.(interface{ Encode() []byte }).Encode() }

func TestRequestRoundTrip(t *testing.T) {
	for name, want := range sampleRequests() {
		t.Run(name, func(t *testing.T) {
			b := encodeRequest(want)
			if !IsSTUN(b) || len(b)%4 != 0 {
				t.Errorf("%d bytes that are no STUN message", len(b))
			}
			got, err := ParseRequest(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, byValue); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReplyRoundTrip(t *testing.T) {
	for name, want := range sampleReplies() {
		t.Run(name, func(t *testing.T) {
			got, err := ParseReply(encodeReply(want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, byValue); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestReceiptOfLateCopies shows what becomes of gaps that the format can't say
// exactly: they are rounded down to its unit, and end at its range.
func TestReceiptOfLateCopies(t *testing.T) {
	sent := Receipt{State: StateSent, Gaps: []time.Duration{
		10*time.Second + 700*time.Nanosecond, 10*time.Second + 20*time.Microsecond, 13 * time.Second,
	}}
	b := make([]byte, receiptSize)
	sent.put(b)
	got, err := decodeReceipt(b)
	if err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{10 * time.Second, 10*time.Second + offsetUnit, 10*time.Second + (offsetNone-1)*offsetUnit}
	if diff := cmp.Diff(want, got.Gaps); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
	if reach := (offsetNone - 1) * offsetUnit; reach < MaxSpread {
		t.Errorf("offsets reach %v, less than the longest spread of %v", reach, MaxSpread)
	}
}

// message builds a STUN message by hand.
func message(class stun.MessageClass, attributes ...stun.RawAttribute) []byte {
	m := begin(class, id4)
	for _, a := range attributes {
		m.Add(a.Type, a.Value)
	}
	return m.Raw
}

func raw(a stun.AttrType, value ...byte) stun.RawAttribute {
	return stun.RawAttribute{Type: a, Value: value}
}

func zeros(a stun.AttrType, n int) stun.RawAttribute { return raw(a, make([]byte, n)...) }

func named(k Kind) stun.RawAttribute { return raw(attrMessage, version, byte(k), 0, 0) }

func TestMalformedRequests(t *testing.T) {
	const request = stun.ClassRequest
	session, token, order := zeros(attrSession, 12), zeros(attrToken, TokenSize), raw(attrOrder, 0, 0, 0, 1, 0, 1, 3, 0)
	foreign := func(change func(b []byte) []byte) []byte { return change(Hello{ID: id4}.Encode()) }
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrNotSTUN},
		{"shorter than a header", foreign(func(b []byte) []byte { return b[:19] }), ErrNotSTUN},
		{"cut off", foreign(func(b []byte) []byte { return b[:len(b)-4] }), ErrNotSTUN},
		{"other cookie", foreign(func(b []byte) []byte { b[4]++; return b }), ErrNotSTUN},
		{"WireGuard handshake", append([]byte{1, 0, 0, 0}, make([]byte, 144)...), ErrNotSTUN},
		{"other method", foreign(func(b []byte) []byte { b[1] = 3; return b }), ErrNotSTUN},
		{"a success response", BindingReply{ID: id4, Mapped: from4}.Encode(), ErrNotSTUN},
		{"an error response", Refusal{ID: id4, Code: CodeQuota}.Encode(), ErrNotSTUN},
		{"a burst", Burst{Copy{Of: 1}}.Encode(), ErrNotSTUN},
		{"a plain indication", message(stun.ClassIndication), ErrNotSTUN},
		{"an order as indication", message(stun.ClassIndication, named(KindOrder), session, token, order), ErrNotSTUN},

		{"other version", message(request, raw(attrMessage, version+1, byte(KindHello), 0, 0)), ErrMalformed},
		{"no kind", message(request, named(KindNone)), ErrMalformed},
		{"kind out of range", message(request, named(KindQuery+1)), ErrMalformed},
		{"short kind", message(request, raw(attrMessage, version)), ErrMalformed},

		{"order without session", message(request, named(KindOrder), token, order), ErrMalformed},
		{"order without token", message(request, named(KindOrder), session, order), ErrMalformed},
		{"order without order", message(request, named(KindOrder), session, token), ErrMalformed},
		{"order with five tokens", message(request, named(KindOrder), session, order, token, token, token, token, token), ErrMalformed},
		{"order with short token", message(request, named(KindOrder), session, order, zeros(attrToken, TokenSize-1)), ErrMalformed},
		{"order with short session", message(request, named(KindOrder), zeros(attrSession, 8), order, token), ErrMalformed},
		{"order of eleven copies", message(request, named(KindOrder), session, token, raw(attrOrder, 0, 0, 0, 1, 0, 1, 11, 0)), ErrMalformed},
		{"order spread over 1,001 ms", message(request, named(KindOrder), session, token, raw(attrOrder, 0, 0, 0, 1, 3, 0xE9, 3, 0)), ErrMalformed},

		{"query without session", message(request, named(KindQuery), token), ErrMalformed},
		{"query without token", message(request, named(KindQuery), session), ErrMalformed},
		{"query with two tokens' length", message(request, named(KindQuery), session, zeros(attrToken, 2*TokenSize)), ErrMalformed},
		{"query for half an order", message(request, named(KindQuery), session, token, zeros(attrQuery, 18)), ErrMalformed},
		{"query for 17 orders", message(request, named(KindQuery), session, token, zeros(attrQuery, 12*17)), ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRequest(tt.b)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error = %v, want %v", err, tt.want)
			}
			var want Request
			if errors.Is(tt.want, ErrMalformed) {
				want = Binding{ID: id4} // so that it can be answered
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMalformedReplies(t *testing.T) {
	const success, failure, indication = stun.ClassSuccessResponse, stun.ClassErrorResponse, stun.ClassIndication
	address := raw(stun.AttrXORMappedAddress, 0, 1, 2, 3, 4, 5, 6, 7)
	token, boot, count := zeros(attrToken, TokenSize), zeros(attrBoot, 8), zeros(attrCount, 8)
	quota := raw(stun.AttrErrorCode, 0, 0, 4, 86)
	receipt := func(change func(b []byte)) stun.RawAttribute {
		b := make([]byte, receiptSize)
		change(b)
		return raw(attrReceipts, b...)
	}
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrNotSTUN},
		{"a request", Hello{ID: id4}.Encode(), ErrNotSTUN},

		{"no address", message(success), ErrMalformed},
		{"address of no family", message(success, raw(stun.AttrXORMappedAddress, 0, 3, 2, 3, 4, 5, 6, 7)), ErrMalformed},
		{"half an IPv4 address", message(success, raw(stun.AttrXORMappedAddress, 0, 1, 2, 3, 4, 5)), ErrMalformed},
		{"half an IPv6 address", message(success, raw(stun.AttrXORMappedAddress, 0, 2, 2, 3, 4, 5, 6, 7)), ErrMalformed},
		{"an order answered with success", message(success, named(KindOrder), address), ErrMalformed},

		{"hello without token", message(success, named(KindHello), address, boot, zeros(attrLimits, limitsSize)), ErrMalformed},
		{"hello without boot id", message(success, named(KindHello), address, token, zeros(attrLimits, limitsSize)), ErrMalformed},
		{"hello without limits", message(success, named(KindHello), address, token, boot), ErrMalformed},
		{"hello with short limits", message(success, named(KindHello), address, token, boot, zeros(attrLimits, limitsSize-4)), ErrMalformed},
		{"check without boot id", message(success, named(KindCheck), address), ErrMalformed},
		{"query without count", message(success, named(KindQuery), address, token, boot), ErrMalformed},
		{"query with half a receipt", message(success, named(KindQuery), address, token, boot, count, zeros(attrReceipts, receiptSize/2)), ErrMalformed},
		{"query with 17 receipts", message(success, named(KindQuery), address, token, boot, count, zeros(attrReceipts, 17*receiptSize)), ErrMalformed},
		{"receipt of no state", message(success, named(KindQuery), address, token, boot, count, receipt(func(b []byte) { b[12] = 3 })), ErrMalformed},
		{"receipt of eleven copies", message(success, named(KindQuery), address, token, boot, count, receipt(func(b []byte) { b[13] = 11 })), ErrMalformed},

		{"refusal without code", message(failure), ErrMalformed},
		{"refusal with half a code", message(failure, raw(stun.AttrErrorCode, 0, 0)), ErrMalformed},
		{"refusal of class 7", message(failure, raw(stun.AttrErrorCode, 0, 0, 7, 0)), ErrMalformed},
		{"refusal of class 2", message(failure, raw(stun.AttrErrorCode, 0, 0, 2, 0)), ErrMalformed},
		{"refusal with short limit", message(failure, quota, zeros(attrLimit, 4)), ErrMalformed},
		{"refusal with short token", message(failure, quota, zeros(attrToken, 4)), ErrMalformed},
		{"refusal with short boot id", message(failure, quota, zeros(attrBoot, 4)), ErrMalformed},
		{"refusal of another version", message(failure, quota, raw(attrMessage, 9, 9, 9, 9)), ErrMalformed},

		{"short burst", message(indication, zeros(attrBurst, 4)), ErrMalformed},
		{"copy 3 of 3", message(indication, raw(attrBurst, 3, 3, 0, 0, 0, 0, 0, 0)), ErrMalformed},
		{"copy of 0", message(indication, raw(attrBeacon, 0, 0, 0, 0, 0, 0, 0, 0)), ErrMalformed},
		{"copy of 11", message(indication, raw(attrBeacon, 0, 11, 0, 0, 0, 0, 0, 0)), ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ParseReply(tt.b); !errors.Is(err, tt.want) || got != nil {
				t.Errorf("got %#v, error %v, want %v", got, err, tt.want)
			}
		})
	}
}

// TestUnknownAttributes: what a client requires and we don't know is named to
// it, whether its request is natprobe's or plain.
func TestUnknownAttributes(t *testing.T) {
	changeRequest, reserved := zeros(0x0003, 4), zeros(0x7FFF, 1)
	for name, b := range map[string][]byte{
		"plain": message(stun.ClassRequest, changeRequest, zeros(stun.AttrUsername, 5), zeros(0x8022, 9), reserved),
		"hello": message(stun.ClassRequest, named(KindHello), changeRequest, reserved),
		"again": message(stun.ClassRequest, named(KindHello), changeRequest, reserved, changeRequest, reserved),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseRequest(b)
			if err != nil {
				t.Fatal(err)
			}
			want := Binding{ID: id4, Unknown: []uint16{0x0003, 0x7FFF}}
			if diff := cmp.Diff(Request(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	b := message(stun.ClassRequest, append(unknownAttributes(maxUnknown+1), named(KindHello))...)
	request, err := ParseRequest(b)
	binding, ok := request.(Binding)
	if err != nil || !ok || len(binding.Unknown) != maxUnknown {
		t.Errorf("of %d unknown attributes %#v is known, %v", maxUnknown+1, request, err)
	}
	var all stun.UnknownAttributes
	for _, a := range unknownAttributes(maxUnknown + 1) {
		all = append(all, a.Type)
	}
	m := stun.Message{Raw: PlainError{ID: id4, Code: CodeUnknownAttribute, Unknown: append(binding.Unknown, 0x7FFF)}.Encode()}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	var listed stun.UnknownAttributes
	if err := listed.GetFrom(&m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[:maxUnknown], listed); diff != "" || len(m.Raw) != 72 {
		t.Errorf("420 response of %d bytes (-want +got):\n%s", len(m.Raw), diff)
	}
	got, err := ParseReply(m.Raw)
	if diff := cmp.Diff(Reply(Refusal{ID: id4, Code: CodeUnknownAttribute}), got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	for k := LimitNone; k <= LimitPayment; k++ {
		if seen[k.String()] {
			t.Errorf("limit %d has the name of another, %q", k, k)
		}
		seen[k.String()] = true
	}
	if got := (LimitPayment + 1).String(); got != "limit 9" {
		t.Errorf("a limit of the future is called %q", got)
	}
	if got := CodeStaleToken.String(); got != "438 (stale token)" {
		t.Errorf("CodeStaleToken = %q", got)
	}
}
