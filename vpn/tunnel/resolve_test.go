package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/natprobe/natprobe/vpn"
)

func withEndpoints(t *testing.T, endpoints ...string) *vpn.Config {
	t.Helper()
	c := parse(t, "", "10.1.0.0/16", "10.2.0.0/16")
	for i, e := range endpoints {
		if e == "" {
			continue
		}
		var err error
		if c.Peers[i].Endpoint, err = vpn.ParseEndpoint(e); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func everything(netip.Addr) bool { return true }

func TestResolve(t *testing.T) {
	r := resolver{
		lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
			if network != "ip" || host != "vpn.example" {
				t.Errorf("looked up %s %s", network, host)
			}
			return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.7")}, nil
		},
		usable: func(a netip.Addr) bool { return a.Is4() }, // no way for IPv6
		logger: orDiscard(nil),
	}
	c := withEndpoints(t, "vpn.example:51820", "[2001:db8::9]:5")
	got, err := r.all(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[vpn.PublicKey]netip.AddrPort{
		c.Peers[0].PublicKey: netip.MustParseAddrPort("192.0.2.7:51820"),
		c.Peers[1].PublicKey: netip.MustParseAddrPort("[2001:db8::9]:5"),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	// Where none is usable now, one is better than none.
	r.usable = func(netip.Addr) bool { return false }
	if got, err = r.all(t.Context(), c); err != nil || got[c.Peers[0].PublicKey].Addr().String() != "2001:db8::1" {
		t.Errorf("without a way to any: %v, %v", got, err)
	}
}

func TestResolveTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		r := resolver{usable: everything, logger: orDiscard(nil)}
		r.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if tries++; tries < 4 {
				return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
		}
		c := withEndpoints(t, "vpn.example:51820")
		if _, err := r.all(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); tries != 4 || got != 7*time.Second {
			t.Errorf("%d tries in %v, want 4 in 1 + 2 + 4 s", tries, got)
		}
	})
}

func TestResolveFails(t *testing.T) {
	fail := func(err error) resolver {
		return resolver{usable: everything, logger: orDiscard(nil),
			lookup: func(context.Context, string, string) ([]netip.Addr, error) { return nil, err }}
	}
	t.Run("no such name", func(t *testing.T) {
		tries := 0
		r := fail(nil)
		r.lookup = func(context.Context, string, string) ([]netip.Addr, error) { tries++; return nil, nil }
		_, err := r.all(t.Context(), withEndpoints(t, "one.example:1"))
		if err == nil || tries != 1 {
			t.Errorf("%d tries, error %v; want one try", tries, err)
		}
	})
	t.Run("all names are told", func(t *testing.T) {
		r := fail(&net.DNSError{Err: "no such host", Name: "x", Server: "192.0.2.53:53", IsNotFound: true})
		_, err := r.all(t.Context(), withEndpoints(t, "one.example:1", "two.example:2"))
		for _, want := range []string{"wg0.conf:4: Endpoint: the name one.example", "wg0.conf:7: Endpoint: the name two.example", "no such host"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error lacks %q: %v", want, err)
			}
		}
		var place *vpn.FileError
		if !errors.As(err, &place) {
			t.Errorf("the error is of type %T", err)
		}
	})
	t.Run("gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			_, err := fail(errors.New("refused")).all(t.Context(), withEndpoints(t, "one.example:1"))
			if err == nil || time.Since(began) != 15*time.Second {
				t.Errorf("error %v after %v, want one after 1 + 2 + 4 + 8 s", err, time.Since(began))
			}
		})
	})
	t.Run("interrupted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := fail(errors.New("refused")).all(ctx, withEndpoints(t, "one.example:1"))
			if err == nil || time.Since(began) != 1500*time.Millisecond {
				t.Errorf("error %v after %v", err, time.Since(began))
			}
		})
	})
}

func TestKeep(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	r := resolver{usable: everything}
	only4 := resolver{usable: func(x netip.Addr) bool { return x.Is4() }}
	for _, test := range []struct {
		r       resolver
		current netip.Addr
		want    netip.Addr
	}{{r, b, b}, {r, a, a}, {r, netip.MustParseAddr("192.0.2.9"), a}, {r, netip.Addr{}, a}, {only4, b, a}} {
		if got := test.r.keep([]netip.Addr{a, b}, test.current); got != test.want {
			t.Errorf("in use %v: %v, want %v", test.current, got, test.want)
		}
	}
}
