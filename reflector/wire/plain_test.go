package wire

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/stun/v3"
)

// plainRequest returns a Binding request with attributes of any kind.
func plainRequest(attributes ...stun.RawAttribute) []byte {
	m := begin(stun.ClassRequest, id4)
	for _, a := range attributes {
		m.Add(a.Type, a.Value)
	}
	return m.Raw
}

func attribute(a stun.AttrType, value ...byte) stun.RawAttribute {
	return stun.RawAttribute{Type: a, Value: value}
}

// unknownAttributes are n attributes that have never been assigned.
func unknownAttributes(n int) []stun.RawAttribute {
	all := make([]stun.RawAttribute, n)
	for i := range all {
		all[i].Type = stun.AttrType(0x7F00 + i)
	}
	return all
}

// fingerprinted adds a FINGERPRINT to a message, as pion does it.
func fingerprinted(t testing.TB, b []byte) []byte {
	t.Helper()
	m := &stun.Message{Raw: slices.Clone(b)}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	if err := stun.Fingerprint.AddTo(m); err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func TestParsePlain(t *testing.T) {
	var sixteen []uint16
	for _, a := range unknownAttributes(16) {
		sixteen = append(sixteen, a.Type.Value())
	}
	flipped := fingerprinted(t, plainRequest())
	flipped[10] ^= 1
	tests := []struct {
		name    string
		b       []byte
		form    Form
		want    Plain // but for its ID
		unknown []uint16
	}{
		{"bare", plainRequest(), FormPlain, Plain{}, nil},
		{"RFC 5769's, of ICE", vector(t, rfc5769Request), FormPlain, Plain{Fingerprint: true}, []uint16{0x0024}},
		{"ICE's", plainRequest(attribute(stun.AttrPriority, 1, 2, 3, 4), attribute(stun.AttrUseCandidate)), FormPlain, Plain{}, []uint16{0x0024, 0x0025}},
		{"RFC 5769's with a long-term credential", vector(t, rfc5769LongTerm), FormPlain, Plain{}, nil},
		{"change nothing", plainRequest(attribute(attrChangeRequest, 0, 0, 0, 0)), FormPlain, Plain{Changes: true}, nil},
		{"change the port", plainRequest(attribute(attrChangeRequest, 0, 0, 0, 2)), FormPlain, Plain{Changes: true, Change: ChangePort}, nil},
		{"change both", plainRequest(attribute(attrChangeRequest, 0, 0, 0, 6)), FormPlain, Plain{Changes: true, Change: ChangePort | ChangeAddr}, nil},
		{
			"the first counts", plainRequest(attribute(attrChangeRequest, 0, 0, 0, 4), attribute(attrChangeRequest, 0, 0, 0, 2)),
			FormPlain, Plain{Changes: true, Change: ChangeAddr}, nil,
		},
		{"change of three bytes", plainRequest(attribute(attrChangeRequest, 0, 0, 6)), FormPlain, Plain{Changes: true, Bad: true}, nil},
		{"port", plainRequest(attribute(attrResponsePort, 0x12, 0x34)), FormPlain, Plain{ResponsePort: 0x1234}, nil},
		{"port with its padding", plainRequest(attribute(attrResponsePort, 0x12, 0x34, 0, 0)), FormPlain, Plain{ResponsePort: 0x1234}, nil},
		{"port 0", plainRequest(attribute(attrResponsePort, 0, 0)), FormPlain, Plain{Bad: true}, nil},
		{"port of one byte", plainRequest(attribute(attrResponsePort, 9)), FormPlain, Plain{Bad: true}, nil},
		{"padding", plainRequest(attribute(attrPlainPadding, make([]byte, 1500)...)), FormPlain, Plain{Pads: true, Padding: 1500}, nil},
		{
			"padding and port", plainRequest(attribute(attrPlainPadding), attribute(attrResponsePort, 1, 1)),
			FormPlain, Plain{Pads: true, ResponsePort: 257, Bad: true}, nil,
		},
		{
			"unknown ones", plainRequest(attribute(1), attribute(2), attribute(4), attribute(5), attribute(7), attribute(0x8001)),
			FormPlain, Plain{}, []uint16{1, 2, 4, 5, 7},
		},
		{
			"unknown ones again", plainRequest(attribute(2), attribute(1), attribute(2, 3), attribute(1)),
			FormPlain, Plain{}, []uint16{2, 1},
		},
		{"thirty-three attributes", plainRequest(unknownAttributes(maxAttributes + 1)...), FormForeign, Plain{}, nil},
		{"natprobe's with thirty-three", plainRequest(append(unknownAttributes(maxAttributes), attribute(attrMessage, version, byte(KindHello), 0, 0))...), FormForeign, Plain{}, nil},
		{"natprobe's with thirty-three, its own first", plainRequest(append([]stun.RawAttribute{attribute(attrMessage, version, byte(KindHello), 0, 0)}, unknownAttributes(maxAttributes)...)...), FormForeign, Plain{}, nil},
		{"natprobe's of MaxPayload", plainRequest(attribute(attrMessage, version, byte(KindHello), 0, 0), attribute(attrPadding, make([]byte, MaxPayload-32)...)), FormNatprobe, Plain{}, nil},
		{"natprobe's above MaxPayload", plainRequest(attribute(attrMessage, version, byte(KindHello), 0, 0), attribute(attrPadding, make([]byte, MaxPayload-28)...)), FormForeign, Plain{}, nil},
		{"twenty unknown ones", plainRequest(unknownAttributes(20)...), FormPlain, Plain{}, sixteen},
		{
			"behind MESSAGE-INTEGRITY", plainRequest(
				attribute(attrChangeRequest, 0, 0, 0, 2), attribute(stun.AttrMessageIntegrity, make([]byte, 20)...), attribute(attrResponsePort, 1, 1),
				attribute(attrPlainPadding), attribute(1), attribute(attrMessage, version, byte(KindHello), 0, 0),
			),
			FormPlain, Plain{Changes: true, Change: ChangePort}, nil,
		},
		{
			"behind MESSAGE-INTEGRITY-SHA256", plainRequest(
				attribute(1), attribute(stun.AttrMessageIntegritySHA256, make([]byte, 32)...), attribute(attrChangeRequest), attribute(2),
			),
			FormPlain, Plain{}, []uint16{1},
		},
		{
			"both, and FINGERPRINT", fingerprinted(t, plainRequest(
				attribute(stun.AttrMessageIntegrity, make([]byte, 20)...), attribute(stun.AttrMessageIntegritySHA256, make([]byte, 32)...), attribute(1),
			)),
			FormPlain, Plain{Fingerprint: true}, nil,
		},
		{
			"behind MESSAGE-INTEGRITY a FINGERPRINT of another message", plainRequest(
				attribute(stun.AttrMessageIntegrity, make([]byte, 20)...), attribute(stun.AttrFingerprint, 1, 2, 3, 4),
			),
			FormForeign, Plain{}, nil,
		},
		{"fingerprint", fingerprinted(t, plainRequest(attribute(attrChangeRequest, 0, 0, 0, 0))), FormPlain, Plain{Changes: true, Fingerprint: true}, nil},
		{"fingerprint of another message", flipped, FormForeign, Plain{}, nil},
		{"fingerprint of three bytes", plainRequest(attribute(stun.AttrFingerprint, 1, 2, 3)), FormForeign, Plain{}, nil},
		{"fingerprint not at the end", plainRequest(attribute(stun.AttrFingerprint, 1, 2, 3, 4), attribute(0x8001)), FormForeign, Plain{}, nil},
		{"natprobe's", Hello{ID: id4}.Encode(), FormNatprobe, Plain{}, nil},
		{"natprobe's with more", append(Hello{ID: id4}.Encode(), 0), FormNatprobe, Plain{}, nil},
		{"cut off", plainRequest(attribute(1, 2, 3, 4))[:25], FormForeign, Plain{}, nil},
		{"with something behind", append(plainRequest(), 0, 0, 0, 0), FormForeign, Plain{}, nil},
		{"an answer", BindingReply{ID: id4, Mapped: from4}.Encode(), FormForeign, Plain{}, nil},
		{"nothing", nil, FormForeign, Plain{}, nil},
		{"WireGuard's", append([]byte{1, 0, 0, 0}, make([]byte, 144)...), FormForeign, Plain{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got Plain
			if form := ParsePlain(tt.b, &got); form != tt.form {
				t.Fatalf("form %d, want %d", form, tt.form)
			}
			if tt.form != FormPlain {
				return
			}
			if got.ID != ID(tt.b[8:20]) {
				t.Errorf("id %v", got.ID)
			}
			if unknown := got.Unknown(); !slices.Equal(unknown, tt.unknown) {
				t.Errorf("unknown %v, want %v", unknown, tt.unknown)
			}
			got.ID, got.unknown, got.unknownCount = ID{}, [maxUnknown]uint16{}, 0
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestPlainReplies reads the answers with pion's code.
func TestPlainReplies(t *testing.T) {
	origin, other := netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("[2001:db8::2]:3479")
	for _, r := range []BindingReply{
		{ID: id4, Mapped: from4},
		{ID: id4, Mapped: from6, Fingerprint: true},
		{ID: id4, Mapped: from4, Origin: origin, Other: other, Fingerprint: true},
		{ID: id4, Mapped: from6, Origin: other, Other: origin, Pads: true, Padding: 1499},
		{ID: id4, Mapped: from4, Pads: true},
	} {
		b := r.Append([]byte("before"))[len("before"):]
		m := &stun.Message{Raw: b}
		if err := m.Decode(); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if m.Type != stun.BindingSuccess || m.TransactionID != id4 {
			t.Errorf("%+v: type %v, id %x", r, m.Type, m.TransactionID)
		}
		var xor stun.XORMappedAddress
		if err := xor.GetFrom(m); err != nil || xor.String() != r.Mapped.String() {
			t.Errorf("XOR-MAPPED-ADDRESS %v, %v, want %v", xor, err, r.Mapped)
		}
		for _, a := range []struct {
			t    stun.AttrType
			want netip.AddrPort
		}{{stun.AttrMappedAddress, r.Mapped}, {attrResponseOrigin, r.Origin}, {attrOtherAddress, r.Other}} {
			var mapped stun.MappedAddress
			switch err := mapped.GetFromAs(m, a.t); {
			case !a.want.IsValid():
				if err == nil {
					t.Errorf("%v is there, as %v", a.t, mapped)
				}
			case err != nil || net.JoinHostPort(mapped.IP.String(), fmt.Sprint(mapped.Port)) != a.want.String():
				t.Errorf("%v %v, %v, want %v", a.t, mapped, err, a.want)
			}
		}
		if pad, err := m.Get(attrPlainPadding); (err == nil) != r.Pads || len(pad) != r.Padding {
			t.Errorf("PADDING of %d bytes, %v, want %d", len(pad), err, r.Padding)
		}
		if err := stun.Fingerprint.Check(m); (err == nil) != r.Fingerprint {
			t.Errorf("FINGERPRINT: %v, want one: %v", err, r.Fingerprint)
		}
	}
	e := &stun.Message{Raw: PlainError{ID: id4, Code: CodeBadRequest, Fingerprint: true}.Encode()}
	var code stun.ErrorCodeAttribute
	if err := e.Decode(); err != nil {
		t.Fatal(err)
	}
	if err := code.GetFrom(e); err != nil || code.Code != 400 || stun.Fingerprint.Check(e) != nil || e.Contains(stun.AttrUnknownAttributes) {
		t.Errorf("400 is %v, %v", e, err)
	}
}

// TestPlainAllocates: a plain request costs no memory.
func TestPlainAllocates(t *testing.T) {
	request := fingerprinted(t, plainRequest(attribute(attrChangeRequest, 0, 0, 0, 6)))
	buffer := make([]byte, 0, MaxPayload)
	var p Plain
	got := testing.AllocsPerRun(100, func() {
		if ParsePlain(request, &p) != FormPlain {
			t.Error("no plain request")
		}
		r := BindingReply{ID: p.ID, Mapped: from6, Origin: from4, Other: from6, Fingerprint: true}
		buffer = r.Append(buffer[:0])
		buffer = PlainError{ID: p.ID, Code: CodeUnknownAttribute, Unknown: p.Unknown()}.Append(buffer[:0])
	})
	if got != 0 {
		t.Errorf("%v allocations a request, want none", got)
	}
}

// FuzzParsePlain: what it takes for plain STUN is that to pion too, and to
// ParseRequest; what it takes for natprobe's has NP-MESSAGE.
func FuzzParsePlain(f *testing.F) {
	for _, r := range sampleRequests() {
		f.Add(encodeRequest(r))
	}
	f.Add(vector(f, rfc5769Request))
	f.Add(plainRequest(attribute(attrChangeRequest, 0, 0, 0, 6), attribute(attrResponsePort, 1, 2)))
	f.Add(fingerprinted(f, plainRequest(attribute(attrPlainPadding, 1, 2, 3))))
	f.Add(vector(f, rfc5769LongTerm))
	integrity, sha256 := attribute(stun.AttrMessageIntegrity, make([]byte, 20)...), attribute(stun.AttrMessageIntegritySHA256, make([]byte, 32)...)
	f.Add(plainRequest(integrity, attribute(attrChangeRequest, 0, 0, 0, 6), attribute(1)))
	f.Add(plainRequest(integrity, attribute(attrMessage, version, byte(KindHello), 0, 0)))
	f.Add(plainRequest(attribute(attrMessage, version, byte(KindHello), 0, 0), integrity, attribute(1)))
	f.Add(fingerprinted(f, plainRequest(integrity, sha256)))
	f.Add(fingerprinted(f, plainRequest(sha256, integrity, attribute(attrResponsePort, 1, 2))))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Plain
		form := ParsePlain(b, &p)
		if form == FormForeign {
			return
		}
		if form == FormNatprobe {
			if !slices.Contains(slices.Collect(attributesOf(b)), uint16(attrMessage)) {
				t.Errorf("% x has no NP-MESSAGE", b)
			}
			return
		}
		r, err := ParseRequest(b)
		binding, ok := r.(Binding)
		if err != nil || !ok || binding.ID != p.ID {
			t.Fatalf("% x is %#v to ParseRequest, %v", b, r, err)
		}
		if p.Fingerprint {
			m := &stun.Message{Raw: b}
			if err := m.Decode(); err != nil || stun.Fingerprint.Check(m) != nil {
				t.Errorf("% x has no FINGERPRINT to pion", b)
			}
		}
		if len(binding.Unknown) == maxUnknown {
			return // RFC 5780's are among them, and others left out
		}
		var unknown []uint16
		for _, a := range binding.Unknown {
			if a == stun.AttrXORMappedAddress.Value() {
				return // to pion 0x8020 is that as well
			}
			if at := stun.AttrType(a); at != attrChangeRequest && at != attrResponsePort && at != attrPlainPadding {
				unknown = append(unknown, a)
			}
		}
		if diff := cmp.Diff(unknown, append([]uint16(nil), p.Unknown()...)); diff != "" {
			t.Errorf("unknown attributes (-ParseRequest +ParsePlain):\n%s", diff)
		}
	})
}

// attributesOf lists the types of a message's attributes, as far as it goes.
func attributesOf(b []byte) func(func(uint16) bool) {
	return func(yield func(uint16) bool) {
		for at := headerSize; at+attributeHeader <= len(b); {
			if !yield(binary.BigEndian.Uint16(b[at:])) {
				return
			}
			at += attributeHeader + (int(binary.BigEndian.Uint16(b[at+2:]))+3)&^3
		}
	}
}
