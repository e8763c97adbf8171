package simulate

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		client, server := n.dial(), n.server()
		seen := n.open(client, server)

		n.Outage(5 * time.Second)
		n.Outage(time.Second) // must not end the longer one
		for range 4 {
			time.Sleep(time.Second - rtt)
			n.say(client, serverEnd, "lost")
			n.say(server, seen, "lost")
			time.Sleep(rtt)
		}
		if got := n.Stats().Down; got != 8 {
			t.Errorf("%d packets lost to the outage, want 8", got)
		}
		time.Sleep(2 * time.Second)
		n.say(client, serverEnd, "out")
		if text, _ := n.hear(server); text != "out" {
			t.Errorf("server got %q after the outage, want out", text)
		}
		n.say(server, seen, "in")
		if text, _ := n.hear(client); text != "in" {
			t.Errorf("client got %q after the outage, want in", text)
		}
	})
}

func TestOutageStillRefreshesOutbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		client, server := n.dial(), n.server()
		seen := n.open(client, server)
		time.Sleep(25 * time.Second)
		n.Outage(time.Second)
		n.say(client, serverEnd, "lost outside")
		time.Sleep(25 * time.Second)
		n.say(server, seen, "still there?")
		if text, _ := n.hear(client); text == "" {
			t.Error("a packet that got to the NAT did not refresh its mapping")
		}
	})
}

func TestReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux(), linux()}})
		client, server := n.dial(), n.server()
		for i := range 2 {
			seen := n.open(client, server)
			if err := n.RebootNAT(i); err != nil {
				t.Fatal(err)
			}
			if got := n.Mappings(i); got != 0 {
				t.Errorf("NAT %d has %d mappings after its reboot", i, got)
			}
			if got := n.Mappings(1 - i); got != 1 {
				t.Errorf("NAT %d has %d mappings after the other's reboot, want 1", 1-i, got)
			}
			n.say(server, seen, "anyone?")
			if text, _ := n.hear(client); text != "" {
				t.Errorf("%q got through after the reboot of NAT %d", text, i)
			}
			time.Sleep(time.Minute) // until the state of the stray packet is gone
		}
		for _, i := range []int{-1, 2} {
			if err := n.RebootNAT(i); err == nil {
				t.Errorf("rebooted NAT %d of two", i)
			}
		}
	})
}

func TestChangeAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		client, server := n.dial(), n.server()
		before := n.open(client, server)
		fresh := netip.MustParseAddr("198.51.100.77")
		if err := n.ChangeAddress(fresh); err != nil {
			t.Fatal(err)
		}
		n.say(server, before, "anyone?")
		if text, _ := n.hear(client); text != "" {
			t.Errorf("%q got through to the old address", text)
		}
		if after := n.open(client, server); after.Addr() != fresh {
			t.Errorf("server sees %v, want address %v", after, fresh)
		}
		if err := n.ChangeAddress(netip.MustParseAddr("::1")); err == nil {
			t.Error("an IPv4 NAT took an IPv6 address")
		}
		if err := newNet(t, Config{}).ChangeAddress(fresh); err == nil {
			t.Error("an open path changed its address")
		}
	})
}

// lossShares sends many packets both ways and returns the shares lost.
func lossShares(t *testing.T, n testNet, packets int, pace time.Duration) (out, in float64) {
	t.Helper()
	client, server := n.dial(), n.server()
	count := func(c *conn) *int {
		got := new(int)
		go func() {
			b := make([]byte, 16)
			for {
				if _, _, err := c.ReadFromUDPAddrPort(b); err != nil {
					return
				}
				*got++
			}
		}()
		return got
	}
	n.SetLoss(0, 0)
	seen := n.open(client, server)
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	n.SetLoss(n.cfg.LossOut, n.cfg.LossIn)
	toServer, toClient := count(server), count(client)
	for range packets {
		n.say(client, serverEnd, "x")
		n.say(server, seen, "y")
		time.Sleep(pace)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	share := func(got int) float64 { return 1 - float64(got)/float64(packets) }
	return share(*toServer), share(*toClient)
}

func TestLoss(t *testing.T) {
	tests := []struct {
		name      string
		cfg       Config
		tolerance float64
	}{
		{"none", Config{}, 0},
		{"outbound only", Config{LossOut: 0.3}, 0.03},
		{"inbound only", Config{LossIn: 0.3}, 0.03},
		{"both", Config{LossOut: 0.1, LossIn: 0.2}, 0.03},
		{"all", Config{LossOut: 1, LossIn: 1}, 0},
		{"inside", Config{LossOut: 0.1, LossIn: 0.2, LossInside: true}, 0.03},
		// 5,000 packets 10 ms apart: about 100 spells.
		{"bursty", Config{LossOut: 0.2, LossIn: 0.1, Burst: 100 * time.Millisecond}, 0.08},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := tt.cfg
				cfg.NATs = []natmodel.Config{natmodel.Flat(time.Hour)}
				cfg.Seed = 11
				out, in := lossShares(t, newNet(t, cfg), 5000, 10*time.Millisecond)
				if d := out - cfg.LossOut; d > tt.tolerance || d < -tt.tolerance {
					t.Errorf("lost %.3f outbound, want %v ± %v", out, cfg.LossOut, tt.tolerance)
				}
				if d := in - cfg.LossIn; d > tt.tolerance || d < -tt.tolerance {
					t.Errorf("lost %.3f inbound, want %v ± %v", in, cfg.LossIn, tt.tolerance)
				}
			})
		})
	}
}

func TestBurstyLossComesInSpells(t *testing.T) {
	l := newLoss(0.2, time.Second, 3)
	const tick = 10 * time.Millisecond
	lost, spells, ticks := 0, 0, 1_000_000
	was := false
	for i := range ticks {
		is := l.takes(time.Duration(i)*tick, uint64(i))
		if is {
			lost++
			if !was {
				spells++
			}
		}
		was = is
	}
	if got := float64(lost) / float64(ticks); got < 0.18 || got > 0.22 {
		t.Errorf("share lost %.3f, want 0.18 to 0.22", got)
	}
	if mean := time.Duration(lost) * tick / time.Duration(spells); mean < 900*time.Millisecond || mean > 1100*time.Millisecond {
		t.Errorf("mean spell %v, want 0.9 s to 1.1 s", mean)
	}
}

func TestPlaceOfLoss(t *testing.T) {
	for _, inside := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newNet(t, Config{NATs: []natmodel.Config{linux()}, LossInside: inside})
			client, server := n.dial(), n.server()
			seen := n.open(client, server)
			time.Sleep(20 * time.Second)
			n.SetLoss(1, 0)
			n.say(client, serverEnd, "keepalive")
			time.Sleep(20 * time.Second)
			n.say(server, seen, "still there?")
			text, _ := n.hear(client)
			if got, want := text != "", !inside; got != want {
				t.Errorf("loss inside %v: mapping lives %v, want %v", inside, got, want)
			}
		})
	}
}

func TestBlockAndCapture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		client, server := n.dial(), n.server()
		type sight struct {
			payload   string
			delivered bool
		}
		var seen []sight
		n.Capture(func(_ time.Time, p natmodel.Packet, delivered bool) {
			n.Stats() // the network's methods may be called
			seen = append(seen, sight{string(p.Payload), delivered})
		})
		n.Block(func(p natmodel.Packet) bool { return string(p.Payload) == "bad" })

		external := n.open(client, server)
		n.say(client, serverEnd, "bad")
		time.Sleep(rtt)
		n.say(server, external, "bad")
		time.Sleep(rtt)
		n.say(server, external, "good")
		if text, _ := n.hear(client); text != "good" {
			t.Errorf("client got %q, want good", text)
		}
		n.Block(nil)
		n.say(server, netip.MustParseAddrPort("192.0.2.9:53"), "to nobody")
		time.Sleep(rtt)
		n.say(client, netip.MustParseAddrPort("192.0.2.9:53"), "to nobody")
		time.Sleep(rtt)
		synctest.Wait()

		want := []sight{{"open", true}, {"bad", false}, {"bad", false}, {"good", true}, {"to nobody", false}, {"to nobody", false}}
		if len(seen) != len(want) {
			t.Fatalf("saw %v, want %v", seen, want)
		}
		for i := range want {
			if seen[i] != want[i] {
				t.Errorf("packet %d was %v, want %v", i, seen[i], want[i])
			}
		}
		if got := n.Stats().Blocked; got != 2 {
			t.Errorf("%d packets blocked, want 2", got)
		}
	})
}

func TestFaultFromAHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		client, server := n.dial(), n.server()
		n.Capture(func(_ time.Time, p natmodel.Packet, _ bool) {
			if p.Dst == serverEnd {
				if err := n.RebootNAT(0); err != nil {
					t.Error(err)
				}
			}
		})
		n.say(server, n.open(client, server), "anyone?")
		if text, _ := n.hear(client); text != "" {
			t.Errorf("%q got through a NAT that had rebooted", text)
		}
	})
}

func TestInject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		client, server := n.dial(), n.server()
		seen := n.open(client, server)
		victim := netip.MustParseAddrPort("192.0.2.9:9")

		n.Inject(natmodel.Packet{Src: victim, Dst: serverEnd, Payload: []byte("forged")})
		if text, from := n.hear(server); text != "forged" || from != victim {
			t.Errorf("server got %q from %v", text, from)
		}
		n.Inject(natmodel.Packet{Src: victim, Dst: seen, Payload: []byte("forged")})
		n.Inject(natmodel.Packet{Src: serverEnd, Dst: seen, Payload: []byte("well forged")})
		if text, _ := n.hear(client); text != "well forged" {
			t.Errorf("client got %q, want only what seems to come from the server", text)
		}
	})
}

func TestDuplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}, Duplicate: 1})
		client, server := n.dial(), n.server()
		n.say(client, serverEnd, "twice")
		for i := range 2 {
			if text, _ := n.hear(server); text != "twice" {
				t.Errorf("copy %d: got %q", i, text)
			}
		}
		if text, _ := n.hear(server); text != "" {
			t.Errorf("third copy: %q", text)
		}
	})
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jitter = 30 * time.Millisecond
		n := newNet(t, Config{Jitter: jitter})
		client, server := n.dial(), n.server()
		least, most := time.Hour, time.Duration(0)
		for range 300 {
			start := time.Now()
			n.open(client, server)
			took := time.Since(start)
			least, most = min(least, took), max(most, took)
		}
		if base := rtt / 2; least < base || least > base+jitter/10 || most < base+jitter*9/10 || most >= base+jitter {
			t.Errorf("one-way delays from %v to %v, want them to fill %v to %v", least, most, base, base+jitter)
		}
	})
}
