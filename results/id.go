package results

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID returns a record's name: 128 random bits as 32 hexadecimal digits, so
// that records from anywhere can be merged, and say nothing about their maker.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program rather than return bad bits
	return hex.EncodeToString(b[:])
}

// validID says whether s has the form of what NewID returns.
func validID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16
}
