package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// FuzzParseRequest: no datagram makes the parser panic, its errors are the two
// that callers know, and what it understood survives being sent again.
func FuzzParseRequest(f *testing.F) {
	for _, r := range sampleRequests() {
		f.Add(encodeRequest(r))
	}
	f.Add(vector(f, rfc5769Request))
	f.Add(vector(f, rfc5769LongTerm))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		r, err := ParseRequest(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the parser changed its input")
		}
		if err != nil {
			checkError(t, err, r != nil)
			return
		}
		once := encodeRequest(r)
		again, err := ParseRequest(once)
		if err != nil {
			t.Fatalf("%#v can't be parsed once encoded: %v", r, err)
		}
		if twice := encodeRequest(again); !bytes.Equal(once, twice) {
			t.Errorf("encoded as\n% x\nand then as\n% x", once, twice)
		}
	})
}

// FuzzParseReply is FuzzParseRequest for what a reflector sends.
func FuzzParseReply(f *testing.F) {
	for _, r := range sampleReplies() {
		f.Add(encodeReply(r))
	}
	f.Add(PlainError{ID: id4, Code: CodeUnknownAttribute, Unknown: []uint16{3}}.Encode())
	f.Add(vector(f, rfc5769IPv4))
	f.Add(vector(f, rfc5769IPv6))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		r, err := ParseReply(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the parser changed its input")
		}
		if err != nil {
			checkError(t, err, false)
			if r != nil {
				t.Errorf("%#v came with the error %v", r, err)
			}
			return
		}
		once := encodeReply(r)
		again, err := ParseReply(once)
		if err != nil {
			t.Fatalf("%#v can't be parsed once encoded: %v", r, err)
		}
		if twice := encodeReply(again); !bytes.Equal(once, twice) {
			t.Errorf("encoded as\n% x\nand then as\n% x", once, twice)
		}
	})
}

// checkError: a parser's error is exactly one of its two, and only what is
// malformed comes with a name to answer.
func checkError(t *testing.T, err error, named bool) {
	t.Helper()
	foreign, malformed := errors.Is(err, ErrNotSTUN), errors.Is(err, ErrMalformed)
	if foreign == malformed {
		t.Errorf("error is both or neither of ErrNotSTUN and ErrMalformed: %v", err)
	}
	if foreign && named {
		t.Errorf("a message came with %v", err)
	}
}

// FuzzTokenVerify: nothing verifies but what Mint makes.
func FuzzTokenVerify(f *testing.F) {
	minter := newMinter(f, fleetSecret)
	now := time.Unix(1_900_000_000, 0)
	good := minter.Mint(from4.Addr(), now)
	f.Add(good[:], from4.Addr().AsSlice(), int64(0))
	f.Add(good[:], from4.Addr().AsSlice(), int64(TokenLifetime/time.Second))
	f.Add(good[:], from6.Addr().AsSlice(), int64(0))
	f.Add(make([]byte, TokenSize), from6.Addr().AsSlice(), int64(0))
	flipped := good
	flipped[TokenSize-1] ^= 1
	f.Add(flipped[:], from4.Addr().AsSlice(), int64(0))
	f.Fuzz(func(t *testing.T, b, ip []byte, seconds int64) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		var token Token
		copy(token[:], b)
		at := now.Add(time.Duration(seconds%(1<<20)) * time.Second)
		if minter.Verify(addr, token, at) != verifies(minter, addr, token, at) {
			t.Errorf("Verify(%v, %x, %v) and a comparison with what Mint makes differ", addr, token, at)
		}
		// The same bytes with the right sum for this address and expiry.
		expiry := int64(binary.BigEndian.Uint32(token[:4]))
		minted := minter.Mint(addr, time.Unix(expiry, 0).Add(-TokenLifetime))
		if good := minter.Verify(addr, minted, at); good != verifies(minter, addr, minted, at) {
			t.Errorf("Verify(%v, %x, %v) = %v for a token that Mint made", addr, minted, at, good)
		}
	})
}

// verifies is Verify told in another way.
func verifies(m *Minter, addr netip.Addr, token Token, at time.Time) bool {
	minted := token.Expiry().Add(-TokenLifetime)
	young := at.Before(token.Expiry()) && !minted.After(at.Add(time.Minute))
	return young && m.Mint(addr, minted) == token
}
