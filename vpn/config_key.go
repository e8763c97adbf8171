package vpn

import (
	"crypto/ecdh"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// KeyBytes is the size of each of WireGuard's keys.
const KeyBytes = 32

// What is shown of a secret key; the words are those of wg show.
const (
	hidden = "(hidden)"
	none   = "(none)"
)

// A SecretKey is a PrivateKey or a PresharedKey. Nothing shows it but Reveal:
// neither fmt, whatever the verb, nor log/slog, nor a codec, which all get
// "(hidden)". The zero value is no key, and so is a key of 32 zero bytes, as
// WireGuard has it. Copies share the bytes, which never change. Equal compares.
type SecretKey struct {
	// A function, because in a field that isn't exported fmt can't call the
	// methods of SecretKey; there it shows bytes, and follows some pointers, but
	// of a function it only has the address. nil: no key.
	reveal func() [KeyBytes]byte
}

// NewSecretKey returns the key of these bytes.
func NewSecretKey(bytes [KeyBytes]byte) SecretKey {
	if bytes == [KeyBytes]byte{} {
		return SecretKey{}
	}
	return SecretKey{reveal: func() [KeyBytes]byte { return bytes }}
}

// ParseSecretKey reads a key as wg genkey and wg genpsk print it. The error
// doesn't contain what it was given.
func ParseSecretKey(text string) (SecretKey, error) {
	bytes, err := decodeKey(text)
	if err != nil {
		return SecretKey{}, err
	}
	return NewSecretKey(bytes), nil
}

// Reveal returns the secret, or zeros where there is none.
func (k SecretKey) Reveal() [KeyBytes]byte {
	if k.reveal == nil {
		return [KeyBytes]byte{}
	}
	return k.reveal()
}

// IsZero tells whether there is no key.
func (k SecretKey) IsZero() bool { return k.reveal == nil }

// Equal compares in a time that doesn't depend on the bytes.
func (k SecretKey) Equal(other SecretKey) bool {
	a, b := k.Reveal(), other.Reveal()
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// PublicKey returns the public key of a private one (X25519, RFC 7748 section
// 6.1), and the zero value for none.
func (k SecretKey) PublicKey() PublicKey {
	if k.IsZero() {
		return PublicKey{}
	}
	bytes := k.Reveal()
	private, err := ecdh.X25519().NewPrivateKey(bytes[:])
	if err != nil {
		return PublicKey{} // not with 32 bytes
	}
	return PublicKey(private.PublicKey().Bytes())
}

// String returns "(hidden)", or "(none)".
func (k SecretKey) String() string {
	if k.IsZero() {
		return none
	}
	return hidden
}

// GoString hides the key from %#v.
func (k SecretKey) GoString() string { return k.String() }

// Format hides the key from all other verbs.
func (k SecretKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText hides the key from codecs, that of JSON among them.
func (k SecretKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue hides the key from logs.
func (k SecretKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// A PublicKey names a peer. It is no secret and may be compared with ==.
type PublicKey [KeyBytes]byte

// ParsePublicKey reads a key as wg pubkey prints it. The error doesn't contain
// what it was given, which might be a private key in the wrong place.
func ParsePublicKey(text string) (PublicKey, error) {
	bytes, err := decodeKey(text)
	if err == nil && bytes == [KeyBytes]byte{} {
		err = errors.New("is all zeros, which is nobody's public key")
	}
	return bytes, err
}

// IsZero tells whether there is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String returns the key in base64, as wg shows it.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText returns the key in base64.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote; see ParsePublicKey.
func (k *PublicKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParsePublicKey(string(text))
	return err
}

func decodeKey(text string) (key [KeyBytes]byte, err error) {
	// Of the last character before the = two bits count for nothing; wg wants
	// them to be zero, and so does Strict. One byte more tells 33 from 32.
	var buffer [KeyBytes + 1]byte
	if len(text) == base64.StdEncoding.EncodedLen(KeyBytes) {
		if n, err := base64.StdEncoding.Strict().Decode(buffer[:], []byte(text)); err == nil && n == KeyBytes {
			return [KeyBytes]byte(buffer[:KeyBytes]), nil
		}
	}
	return key, errors.New("is not a key: 44 characters of base64 are allowed, the last of them =, as wg prints them")
}
