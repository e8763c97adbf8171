package wire

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

func newMinter(t testing.TB, secret string) *Minter {
	t.Helper()
	m, err := NewMinter([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const fleetSecret = "a secret of the whole fleet"

func TestToken(t *testing.T) {
	minter := newMinter(t, fleetSecret)
	now := time.Unix(1_900_000_000, 0)
	v4, v6 := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:1:2::3")
	tests := []struct {
		name   string
		minted netip.Addr
		shown  string
		after  time.Duration
		want   bool
	}{
		{"at once", v4, "198.51.100.7", 0, true},
		{"just before it expires", v4, "198.51.100.7", TokenLifetime - time.Second, true},
		{"when it expires", v4, "198.51.100.7", TokenLifetime, false},
		{"by a clock that is behind", v4, "198.51.100.7", -30 * time.Second, true},
		{"from the future", v4, "198.51.100.7", -2 * time.Minute, false},
		{"from a neighbour in the /24", v4, "198.51.100.8", 0, false},
		{"as an IPv4-mapped address", v4, "::ffff:198.51.100.7", 0, true},
		{"in the same /64", v6, "2001:db8:1:2:ffff::1", 0, true},
		{"with a zone", v6, "2001:db8:1:2::1%eth0", 0, true},
		{"in the /64 beside it", v6, "2001:db8:1:3::3", 0, false},
		{"from the other family", v4, "::198.51.100.7", 0, false},
		{"by a translator", v4, "64:ff9b::198.51.100.7", 0, true},
		{"by a translator, another", v4, "64:ff9b::198.51.100.8", 0, false},
		{"by Teredo", netip.MustParseAddr("2001:0:c000:201::1"), "2001:0:c000:201::1", 0, true},
		{"by the same Teredo server", netip.MustParseAddr("2001:0:c000:201::1"), "2001:0:c000:201::2", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := minter.Mint(tt.minted, now)
			if got := minter.Verify(netip.MustParseAddr(tt.shown), token, now.Add(tt.after)); got != tt.want {
				t.Errorf("Verify = %v, want %v", got, tt.want)
			}
			if got, want := token.Expiry(), now.Add(TokenLifetime); !got.Equal(want) {
				t.Errorf("Expiry = %v, want %v", got, want)
			}
		})
	}
}

// TestTokenRotation: keys change each hour, and no token dies of that.
func TestTokenRotation(t *testing.T) {
	minter, fleet, stranger := newMinter(t, fleetSecret), newMinter(t, fleetSecret), newMinter(t, "some other secret")
	addr := netip.MustParseAddr("198.51.100.7")
	start := time.Unix(1_900_000_000, 0)
	for after := time.Duration(0); after < 5*secretRotation; after += 7 * time.Minute {
		now := start.Add(after)
		token := minter.Mint(addr, now)
		late := now.Add(TokenLifetime - time.Second)
		if !minter.Verify(addr, token, late) {
			t.Errorf("after %v: a token died before it expired", after)
		}
		if !fleet.Verify(addr, token, late) {
			t.Errorf("after %v: a reflector with the same secret refuses the token", after)
		}
		if stranger.Verify(addr, token, now) {
			t.Errorf("after %v: a reflector with another secret takes the token", after)
		}
	}
	if len(minter.keys) > maxKeys {
		t.Errorf("%d keys kept, want at most %d", len(minter.keys), maxKeys)
	}
}

// TestTokenKeysDiffer: a secret found out for one period tells nothing about
// the next, as the periods' keys differ.
func TestTokenKeysDiffer(t *testing.T) {
	minter := newMinter(t, fleetSecret)
	if a, b := minter.key(1), minter.key(2); string(a) == string(b) {
		t.Error("two periods have the same key")
	}
}

func TestShortSecret(t *testing.T) {
	if _, err := NewMinter(make([]byte, MinSecret-1)); !errors.Is(err, ErrShortSecret) {
		t.Errorf("error = %v, want ErrShortSecret", err)
	}
	if _, err := NewMinter(make([]byte, MinSecret)); err != nil {
		t.Errorf("a secret of MinSecret bytes: %v", err)
	}
}

// TestSecretIsCopied: what a caller does with its slice later changes nothing.
func TestSecretIsCopied(t *testing.T) {
	secret := []byte(fleetSecret)
	minter, err := NewMinter(secret)
	if err != nil {
		t.Fatal(err)
	}
	clear(secret)
	addr, now := netip.MustParseAddr("192.0.2.1"), time.Unix(1_900_000_000, 0)
	if !newMinter(t, fleetSecret).Verify(addr, minter.Mint(addr, now), now) {
		t.Error("the minter's secret changed with the caller's slice")
	}
}
