package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"sync"
	"time"
)

// TokenSize is the length of a Token in bytes.
const TokenSize = 20

// Token proves that its holder received a packet at an IPv4 address or in an
// IPv6 /64: four bytes of expiry (Unix seconds, big endian) and 16 bytes of
// HMAC-SHA-256 over expiry and prefix.
type Token [TokenSize]byte

// Expiry returns the moment from which the token is worthless.
func (t Token) Expiry() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(t[:4])), 0)
}

const (
	// TokenLifetime covers the longest measurement's orders: the prober gets a
	// fresh token with each answer on its control flow.
	TokenLifetime = 15 * time.Minute
	// MinSecret is the length in bytes below which a secret is refused.
	MinSecret = 16

	// secretRotation is how often the key derived from the secret changes. The
	// expiry in a token tells which key made it, so a fleet that shares a
	// secret needs no other coordination.
	secretRotation = time.Hour
)

// ErrShortSecret reports a token secret below MinSecret bytes.
var ErrShortSecret = errors.New("token secret too short")

// Minter makes and verifies tokens. It is safe for concurrent use.
type Minter struct {
	secret []byte

	mu   sync.Mutex
	keys map[int64]*sync.Pool // of *summer, by rotation period; at most maxKeys
}

// summer makes the sums of one key. To make one costs more than to use one.
type summer struct {
	mac    hash.Hash
	prefix [16]byte
	sum    [sha256.Size]byte
}

const maxKeys = 3

// NewMinter returns a Minter for a secret of at least MinSecret bytes.
func NewMinter(secret []byte) (*Minter, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("%w: %d bytes, at least %d needed", ErrShortSecret, len(secret), MinSecret)
	}
	return &Minter{secret: append([]byte(nil), secret...), keys: make(map[int64]*sync.Pool)}, nil
}

// Mint returns a token for addr that is good for TokenLifetime from now.
func (m *Minter) Mint(addr netip.Addr, now time.Time) Token {
	expiry := now.Add(TokenLifetime).Unix()
	var t Token
	binary.BigEndian.PutUint32(t[:4], uint32(expiry)) //nolint:gosec // good until 2106, as STUN's own 32-bit times
	sum := m.sum(addr, t, expiry)
	copy(t[4:], sum[:])
	return t
}

// Verify reports whether t was minted for addr's prefix and has not expired.
// It compares in constant time.
func (m *Minter) Verify(addr netip.Addr, t Token, now time.Time) bool {
	expiry := t.Expiry()
	if !now.Before(expiry) || expiry.Sub(now) > TokenLifetime+time.Minute {
		return false // expired, or no token that Mint could have made by now
	}
	sum := m.sum(addr, t, expiry.Unix())
	return hmac.Equal(sum[:], t[4:])
}

// sum returns what follows a token's expiry.
func (m *Minter) sum(addr netip.Addr, t Token, unix int64) (sum [TokenSize - 4]byte) {
	pool := m.summers(unix / int64(secretRotation/time.Second))
	s := pool.Get().(*summer) //nolint:forcetypeassert // there are no others in it
	defer pool.Put(s)
	s.mac.Reset()
	s.prefix = Prefix(addr)
	copy(s.sum[:], t[:4])
	s.mac.Write(s.sum[:4])
	s.mac.Write(s.prefix[:])
	copy(sum[:], s.mac.Sum(s.sum[:0]))
	return sum
}

// summers returns those of a period's key.
func (m *Minter) summers(period int64) *sync.Pool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pool, ok := m.keys[period]; ok {
		return pool
	}
	if len(m.keys) >= maxKeys {
		clear(m.keys)
	}
	key := m.key(period)
	pool := &sync.Pool{New: func() any { return &summer{mac: hmac.New(sha256.New, key)} }}
	m.keys[period] = pool
	return pool
}

// key returns a period's key.
func (m *Minter) key(period int64) []byte {
	mac := hmac.New(sha256.New, m.secret)
	mac.Write([]byte("natprobe token key"))
	_ = binary.Write(mac, binary.BigEndian, period)
	return mac.Sum(nil)
}

// Prefix returns what a token is bound to: the whole IPv4 address (in its
// IPv4-mapped form) or the IPv6 /64. A wider IPv4 prefix would let a neighbour
// who can spoof inside it aim bursts. So would the /64 of Teredo (RFC 4380), where
// all who use one server share it: those addresses count whole.
func Prefix(addr netip.Addr) [16]byte {
	addr = Translated(addr)
	b := addr.As16()
	if !addr.Is4() && !teredo.Contains(addr) {
		clear(b[8:])
	}
	return b
}

var (
	translators = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	teredo      = netip.MustParsePrefix("2001::/32")
)

// Translated returns an address as limits and tokens take it: without its zone, and
// the IPv4 one that an IPv4-mapped address stands for, or one of a translator with
// the well-known prefix of RFC 6052.
func Translated(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if translators.Contains(addr) {
		b := addr.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}
