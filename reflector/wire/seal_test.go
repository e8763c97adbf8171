package wire

import (
	"bytes"
	"reflect"
	"testing"
)

var sealKey = [32]byte{1, 2, 3}

func TestSeal(t *testing.T) {
	seal := NewSeal(sealKey)
	for _, request := range sampleRequests() {
		plain := encodeRequest(request)
		kept := bytes.Clone(plain)
		closed := seal.Close(plain)
		if !bytes.Equal(plain, kept) {
			t.Fatalf("%T: sealing changed the message", request)
		}
		if len(closed) != len(plain)+SealSize {
			t.Errorf("%T: sealed %d bytes, want %d", request, len(closed), len(plain)+SealSize)
		}
		// A server that knows no seals reads the message all the same.
		if got, err := ParseRequest(closed); err != nil {
			t.Errorf("%T: sealed, it can't be read: %v", request, err)
		} else if reflect.TypeOf(got) != reflect.TypeOf(request) {
			t.Errorf("%T: sealed, it reads as %T", request, got)
		}
		opened, ok := seal.Open(bytes.Clone(closed))
		if !ok || !bytes.Equal(opened, plain) {
			t.Errorf("%T: opened %v\n% x, want\n% x", request, ok, opened, plain)
		}
		if _, ok := NewSeal([32]byte{1, 2, 4}).Open(bytes.Clone(closed)); ok {
			t.Errorf("%T: another key opens it", request)
		}
		for i := range closed {
			broken := bytes.Clone(closed)
			broken[i] ^= 1
			if _, ok := seal.Open(broken); ok {
				t.Errorf("%T: byte %d was changed and nobody noticed", request, i)
			}
		}
		for n := range closed {
			if _, ok := seal.Open(bytes.Clone(closed[:n])); ok {
				t.Errorf("%T: the first %d bytes open", request, n)
			}
		}
		if _, ok := seal.Open(bytes.Clone(plain)); ok {
			t.Errorf("%T: it opens without a seal", request)
		}
	}
}

// TestSealForeign: what is no STUN is nobody's to seal.
func TestSealForeign(t *testing.T) {
	seal := NewSeal(sealKey)
	for _, datagram := range [][]byte{nil, {}, {4, 0, 0, 0}, make([]byte, 148)} {
		if got := seal.Close(datagram); !bytes.Equal(got, datagram) {
			t.Errorf("% x was sealed as % x", datagram, got)
		}
		if _, ok := seal.Open(datagram); ok {
			t.Errorf("% x opens", datagram)
		}
	}
}

// FuzzSealOpen: nothing opens but what was closed with the key, nothing panics,
// and what doesn't open is left as it was.
func FuzzSealOpen(f *testing.F) {
	seal := NewSeal(sealKey)
	for _, r := range sampleRequests() {
		f.Add(encodeRequest(r))
		f.Add(seal.Close(encodeRequest(r)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		opened, ok := seal.Open(b)
		if !ok {
			if !bytes.Equal(b, before) {
				t.Fatal("what doesn't open was changed")
			}
			return
		}
		if again := seal.Close(opened); !bytes.Equal(again, before) {
			t.Errorf("% x opened as % x, which closes as % x", before, opened, again)
		}
	})
}
