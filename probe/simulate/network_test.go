package simulate

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/probe/natmodel"
)

func TestEchoThroughNetworks(t *testing.T) {
	v6 := netip.MustParseAddr("2001:db8::2")
	tests := []struct {
		name   string
		cfg    Config
		server netip.Addr
		sees   netip.Addr
	}{
		{"open", Config{}, serverAddr, netip.MustParseAddr("192.168.1.2")},
		{"one NAT", Config{NATs: []natmodel.Config{linux()}}, serverAddr, netip.MustParseAddr("198.51.100.1")},
		{"two NATs", Config{NATs: []natmodel.Config{linux(), natmodel.PF()}}, serverAddr, netip.MustParseAddr("198.51.100.1")},
		{"firewall behind a NAT", Config{NATs: []natmodel.Config{natmodel.Flat(time.Minute), natmodel.Firewall(time.Minute)}}, serverAddr, netip.MustParseAddr("198.51.100.1")},
		{"IPv6 firewall", Config{Client: v6, NATs: []natmodel.Config{natmodel.Firewall(time.Minute)}}, netip.MustParseAddr("2001:db8::1"), v6},
		{"IPv6 NAT", Config{Client: v6, NATs: []natmodel.Config{linux(), linux()}}, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::1")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNet(t, tt.cfg)
				server := n.listen(n.Server(tt.server), ":3478")
				go echo(server)
				client := n.dial()
				start := time.Now()
				to := netip.AddrPortFrom(tt.server, 3478)
				n.say(client, to, "hello")
				text, from := n.hear(client)
				if text != "hello" || from != to {
					t.Errorf("got %q from %v, want hello from %v", text, from, to)
				}
				if got := time.Since(start); got != rtt {
					t.Errorf("round trip took %v, want %v", got, rtt)
				}
				if got := n.External(); len(got) != 1 || got[0] != tt.sees {
					t.Errorf("External = %v, want %v", got, tt.sees)
				}
			})
		})
	}
}

func TestSilenceEndsAMapping(t *testing.T) {
	for _, tt := range []struct {
		nat  natmodel.Config
		idle time.Duration
	}{
		{linux(), 30 * time.Second},
		{natmodel.OpenWrt(), 60 * time.Second},
		{natmodel.Flat(5 * time.Minute), 5 * time.Minute},
	} {
		for _, early := range []time.Duration{1, 0} {
			t.Run(fmt.Sprint(tt.idle, "-", early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNet(t, Config{NATs: []natmodel.Config{tt.nat}})
					client, server := n.dial(), n.server()
					seen := n.open(client, server)
					// The packet was at the NAT DefaultOutside ago, and the answer
					// needs as long to get there.
					time.Sleep(tt.idle - 2*DefaultOutside - early)
					n.say(server, seen, "still there?")
					text, _ := n.hear(client)
					if got, want := text != "", early > 0; got != want {
						t.Errorf("answer %v before the deadline came in: %v, want %v", early, got, want)
					}
				})
			})
		}
	}
}

func TestStreamLivesLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		client, server := n.dial(), n.server()
		seen := n.open(client, server)
		n.say(server, seen, "reply")
		n.hear(client)
		time.Sleep(3 * time.Second)
		n.open(client, server)
		time.Sleep(119 * time.Second)
		n.say(server, seen, "still there?")
		if text, _ := n.hear(client); text == "" {
			t.Error("a stream died before its 120 s")
		}
	})
}

func TestTTLReachesOnlySomeNATs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{natmodel.Flat(4 * time.Second), natmodel.Flat(12 * time.Second)}})
		client, server := n.dial(), n.server()
		seen := n.open(client, server)
		if err := client.SetTTL(1); err != nil {
			t.Fatal(err)
		}
		for range 11 {
			time.Sleep(time.Second)
			n.say(client, serverEnd, "inner only")
		}
		if got := [2]int{n.Mappings(0), n.Mappings(1)}; got != [2]int{1, 1} {
			t.Errorf("mappings %v, want one in each NAT", got)
		}
		n.say(server, seen, "still there?")
		if text, _ := n.hear(client); text == "" {
			t.Error("the path died although its inner NAT was refreshed")
		}
		if text, _ := n.hear(server); text != "" {
			t.Errorf("packet with TTL 1 got through two NATs: %q", text)
		}
	})
}

func TestSeveralServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{natmodel.Flat(time.Minute)}})
		client, one, port := n.dial(), n.server(), n.listen(n.Server(serverAddr), ":3479")
		two := n.listen(n.Server(siblingAddr), ":3478")
		seen := n.open(client, one)

		n.say(port, seen, "other port") // Flat's filtering is address-dependent
		if text, from := n.hear(client); text != "other port" || from != netip.AddrPortFrom(serverAddr, 3479) {
			t.Errorf("got %q from %v", text, from)
		}
		n.say(two, seen, "other address")
		if text, _ := n.hear(client); text != "" {
			t.Errorf("%q passed an address-dependent filter", text)
		}
		n.say(one, netip.AddrPortFrom(siblingAddr, 3478), "between servers")
		if text, from := n.hear(two); text != "between servers" || from != serverEnd {
			t.Errorf("server got %q from %v", text, from)
		}
	})
}

func TestStatsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{
			NATs:    []natmodel.Config{linux()},
			LossOut: 0.2, LossIn: 0.2, Duplicate: 0.3, Jitter: 5 * time.Millisecond, Seed: 7,
		})
		server := n.server()
		go echo(server)
		for i := range 200 {
			n.say(n.dial(), netip.AddrPortFrom(serverAddr, uint16(3478+i%2)), "x")
		}
		time.Sleep(time.Second)
		s := n.Stats()
		ends := s.Delivered + s.Lost + s.Down + s.Blocked + s.Refused + s.Unclaimed + s.Overflowed
		if s.Sent+s.Duplicated != ends {
			t.Errorf("%d packets and %d copies, but %d ends: %+v", s.Sent, s.Duplicated, ends, s)
		}
		if s.Delivered == 0 || s.Lost == 0 || s.Duplicated == 0 || s.Unclaimed == 0 {
			t.Errorf("nothing tested: %+v", s)
		}
	})
}

// trace runs traffic from many goroutines and lists what was seen outside.
func trace(t *testing.T, seed uint64) (seen []string) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{
			NATs:    []natmodel.Config{natmodel.PF()},
			LossOut: 0.2, LossIn: 0.2, Duplicate: 0.1, Jitter: 5 * time.Millisecond, Seed: seed,
		})
		go echo(n.server())
		start := time.Now()
		n.Capture(func(at time.Time, p natmodel.Packet, delivered bool) {
			seen = append(seen, fmt.Sprint(at.Sub(start), p.Src, p.Dst, delivered))
		})
		for range 50 {
			client := n.dial()
			go func() {
				for range 4 {
					if _, err := client.WriteToUDPAddrPort([]byte("x"), serverEnd); err != nil {
						return
					}
				}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
	})
	return seen
}

func TestSameSeedSameNetwork(t *testing.T) {
	first := trace(t, 1)
	if len(first) < 200 {
		t.Fatalf("only %d packets were seen", len(first))
	}
	for range 5 {
		if diff := cmp.Diff(first, trace(t, 1)); diff != "" {
			t.Fatalf("two runs differ (-first +second):\n%s", diff)
		}
	}
	if cmp.Equal(first, trace(t, 2)) {
		t.Error("another seed gave the same run")
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string // part of the message; empty: valid
	}{
		{"zero", Config{}, ""},
		{"preset without address", Config{NATs: []natmodel.Config{linux()}}, ""},
		{"delay", Config{Outside: -1}, "Outside is -1ns, want 0 or more"},
		{"loss", Config{LossIn: 1.5}, "LossIn is 1.5, want 0 to 1"},
		{"duplicate", Config{Duplicate: -0.1}, "Duplicate is -0.1"},
		{"queue", Config{Queue: -1}, "Queue is -1"},
		{"client", Config{Client: netip.MustParseAddr("::")}, "Client is ::"},
		{"NAT", Config{NATs: []natmodel.Config{linux(), {}}}, "NATs[1]: natmodel: Timers.Solitary is 0s"},
		{"IP version", Config{NATs: []natmodel.Config{{
			Timers: natmodel.FlatTimers(1), External: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
		}}}, "NATs[0].External[0] is 2001:db8::1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want it to contain %q", err, tt.want)
			}
			if _, err := New(tt.cfg); err == nil {
				t.Error("New took a config that Validate refuses")
			}
		})
	}
}
