package wire

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/stun/v3"
)

// The test vectors of RFC 5769: what other people's clients and servers send.
const (
	rfc5769Request = `
		00010058 2112a442 b7e7a701bc34d686fa87dfae
		80220010 5354554e207465737420636c69656e74
		00240004 6e0001ff
		80290008 932ff9b151263b36
		00060009 6576746a3a68367659202020
		00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
		80280004 e57a3bcf`
	rfc5769IPv4 = `
		0101003c 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f7220
		00200008 0001a147e112a643
		00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
		80280004 c07d4c96`
	rfc5769IPv6 = `
		01010048 2112a442 b7e7a701bc34d686fa87dfae
		8022000b 7465737420766563746f7220
		00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
		00080014 a382954e4be67bf11784c97c8292c275bfe3ed41
		80280004 c8fb0b4c`
	rfc5769LongTerm = `
		00010060 2112a442 78ad3433c6ad72c029da412e
		00060012 e3839ee38388e383aae38383e382afe382b90000
		0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341
		0014000b 6578616d706c652e6f726700
		00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666`
)

func vector(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRFC5769Requests(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		unknown    []uint16
	}{
		{"short-term, of ICE", rfc5769Request, []uint16{stun.AttrPriority.Value()}},
		{"long-term", rfc5769LongTerm, nil},
	} {
		b := vector(t, tt.text)
		got, err := ParseRequest(b)
		if diff := cmp.Diff(Request(Binding{ID: ID(b[8:20]), Unknown: tt.unknown}), got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

func TestRFC5769Responses(t *testing.T) {
	for text, mapped := range map[string]string{
		rfc5769IPv4: "192.0.2.1:32853",
		rfc5769IPv6: "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
	} {
		b := vector(t, text)
		got, err := ParseReply(b)
		want := BindingReply{ID: ID(b[8:20]), Mapped: netip.MustParseAddrPort(mapped)}
		if diff := cmp.Diff(Reply(want), got, byValue); diff != "" || err != nil {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
		// Our own answer has the vector's address attribute, byte for byte, and
		// behind it as many bytes of MAPPED-ADDRESS.
		own := want.Encode()[20:]
		if own = own[:len(own)/2]; !strings.Contains(string(b), string(own)) {
			t.Errorf("%v is encoded as % x, which is not in the vector", want.Mapped, own)
		}
	}
}

// TestMappedAddress: servers older than RFC 5389 have no XOR-MAPPED-ADDRESS.
func TestMappedAddress(t *testing.T) {
	b := vector(t, "0101000c 2112a442 000000000000000000000000 00010008 00018055c0000201")
	got, err := ParseReply(b)
	want := BindingReply{Mapped: netip.MustParseAddrPort("192.0.2.1:32853")}
	if diff := cmp.Diff(Reply(want), got, byValue); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}
