package wire

import (
	"net/netip"
	"testing"
)

// largestRefusal is the payload of a refusal with everything in it and the
// longest reason that this package gives.
func largestRefusal(k Kind, withToken bool) int {
	r := Refusal{Kind: k, Limit: LimitSlot, Boot: sampleBoot}
	if withToken {
		r.Token = sampleToken
	}
	largest := 0
	for _, c := range []Code{CodeBadRequest, CodeUnknownSession, CodeStaleToken, CodeQuota, CodeCapacity} {
		r.Code = c
		largest = max(largest, len(r.Encode()))
	}
	return largest
}

// TestRequestsPay: each request is at least as large as the largest answer that
// it can get, so that a reflector never has to refuse for want of payment.
func TestRequestsPay(t *testing.T) {
	receipts := func(n int) []Receipt { return make([]Receipt, n) }
	answers := func(n int) []int {
		return []int{
			len(QueryReply{Mapped: from6, Receipts: receipts(n)}.Encode()),
			largestRefusal(KindQuery, true),
		}
	}
	tests := []struct {
		name    string
		request int
		replies []int
	}{
		{"hello", len(Hello{}.Encode()), []int{len(HelloReply{Mapped: from6, Limits: sampleLimits}.Encode()), largestRefusal(KindHello, true)}},
		{"hello with a token", len(Hello{Token: sampleToken}.Encode()), []int{len(Hello{}.Encode())}},
		{"check with a token", len(Check{Token: sampleToken}.Encode()), []int{len(Check{}.Encode())}},
		{"check", len(Check{}.Encode()), []int{len(CheckReply{Mapped: from6}.Encode()), largestRefusal(KindCheck, false)}},
		{"order", len(Order{Tokens: []Token{sampleToken}, Copies: 1}.Encode()), []int{largestRefusal(KindOrder, true)}},
		{"order of no copies", len(Order{Tokens: []Token{sampleToken}}.Encode()), []int{largestRefusal(KindOrder, true)}},
		{"query", len(Query{}.Encode()), answers(0)},
		{"query for one", len(Query{Orders: make([]ID, 1)}.Encode()), answers(1)},
		{"query for all", len(Query{Orders: make([]ID, MaxQueryIDs)}.Encode()), answers(MaxQueryIDs)},
	}
	for _, tt := range tests {
		for _, reply := range tt.replies {
			if reply > tt.request {
				t.Errorf("%s of %d bytes is answered with %d", tt.name, tt.request, reply)
			}
		}
		if tt.request > MaxPayload {
			t.Errorf("%s has %d bytes, more than MaxPayload", tt.name, tt.request)
		}
	}
}

func TestCopySize(t *testing.T) {
	for _, c := range []Copy{{Of: 1}, {ID: id4, Index: MaxCopies - 1, Of: MaxCopies, Gap: 1 << 40}} {
		if burst, beacon := len(Burst{c}.Encode()), len(Beacon{c}.Encode()); burst != CopySize || beacon != CopySize {
			t.Errorf("%+v: a burst's copy has %d bytes and its beacon %d, want %d", c, burst, beacon, CopySize)
		}
	}
}

func TestQueryReplySize(t *testing.T) {
	for _, mapped := range []netip.AddrPort{from4, from6, netip.AddrPortFrom(netip.AddrFrom16(from4.Addr().As16()), 1)} {
		for _, n := range []int{0, 1, MaxQueryIDs} {
			r := QueryReply{Mapped: mapped, Receipts: make([]Receipt, n)}
			if got, want := QueryReplySize(mapped.Addr(), n), len(r.Encode()); got != want {
				t.Errorf("QueryReplySize(%v, %d) = %d, want %d", mapped.Addr(), n, got, want)
			}
		}
	}
}

// TestOrderSize: an order of that size carries the IP bytes of its packets; one
// of no copies still pays for its refusal.
func TestOrderSize(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		if got := OrderSize(0, true, ipv6); got != orderMin {
			t.Errorf("OrderSize(0, true, %v) = %d, want %d", ipv6, got, orderMin)
		}
	}
	for _, addr := range []netip.Addr{from4.Addr(), from6.Addr()} {
		for copies := range MaxCopies + 1 {
			for _, beacons := range []bool{false, true} {
				packets := copies
				if beacons {
					packets *= 2
				}
				size := OrderSize(copies, beacons, addr.Is6())
				order := Order{Tokens: []Token{sampleToken}, Copies: copies, Size: size}.Encode()
				paid, due := IPBytes(addr, len(order)), packets*IPBytes(addr, CopySize)
				if paid < due || len(order) > size+3 {
					t.Errorf("%d copies, beacons %v, %v: an order of %d bytes pays %d of %d", copies, beacons, addr, len(order), paid, due)
				}
			}
		}
	}
}
