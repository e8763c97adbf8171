package tuner

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/vpn"
)

// TestPeersUnknown: an interface that doesn't answer at the very moment at which
// something is due only delays it.
func TestPeersUnknown(t *testing.T) {
	tuned(t, func(w *world, _ *Config) { w.lifetimes["home"] = 0 }, func(w *world, _ *Tuner) {
		w.pass(30 * time.Second) // the first measurement has failed, the next is due at 35 s
		w.change(func() { w.peersFail, w.lifetimes["home"] = errors.New("no answer"), 53 })
		w.pass(10 * time.Second)
		w.change(func() { w.peersFail = nil })
		w.pass(5 * time.Minute)
		if got := w.interval(); got != 52 {
			t.Errorf("the interval is %d s, want 52: nothing was measured any more", got)
		}
	})
}

// TestThereAndBack: a peer that was reached through the other family meanwhile
// has that one's interval, and needs its own again.
func TestThereAndBack(t *testing.T) {
	second := key(2)
	tuned(t, func(w *world, cfg *Config) {
		cfg.Peers[second] = 0
		w.peers[second] = vpn.PeerState{PublicKey: second, Endpoint: netip.MustParseAddrPort("192.0.2.2:51820")}
	}, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		roam := func(to string) {
			w.change(func() {
				p := w.peers[second]
				p.Endpoint = netip.MustParseAddrPort(to)
				w.peers[second] = p
			})
			w.pass(6 * time.Second)
		}
		roam("[2001:db8::2]:51820")
		if got := w.peers[second].Keepalive; got != 13*time.Second {
			t.Fatalf("over IPv6 it has %v, want 13 s", got)
		}
		set := len(w.set)
		roam("192.0.2.2:51820")
		if got := w.peers[second].Keepalive; got != 52*time.Second {
			t.Errorf("back on IPv4 it has %v, want 52 s", got)
		}
		if got := w.set[set:]; len(got) != 1 {
			t.Errorf("set %v: the other peer had it already", got)
		}
	})
}

// TestMadeAnew: an interface that went and came back between two looks has the
// interval of its file.
func TestMadeAnew(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		sent := func(bytes uint64, keepalive time.Duration) {
			w.change(func() {
				p := w.peers[first]
				p.SentBytes, p.Keepalive = bytes, keepalive
				w.peers[first] = p
			})
			w.pass(6 * time.Second)
		}
		w.pass(time.Minute)
		sent(1000, 7*time.Second)
		if got := w.interval(); got != 7 {
			t.Errorf("the interval is %d s; somebody set 7", got)
		}
		sent(148, 25*time.Second)
		if got := w.interval(); got != 52 {
			t.Errorf("after the interface was made anew the interval is %d s, want 52", got)
		}
	})
}

// TestRefused: a peer whose interval can't be set is tried again, and neither
// counts as set nor disturbs the others.
func TestRefused(t *testing.T) {
	tuned(t, func(w *world, _ *Config) { w.applyFails = errors.New("operation not permitted") }, func(w *world, tuner *Tuner) {
		w.pass(10 * time.Second)
		if got := tuner.Status().Changes; len(got) != 0 {
			t.Errorf("nothing could be set, but these are called changes: %v", got)
		}
		had := int(w.peers[first].Keepalive / time.Second)
		if p := tuner.Status().Paths[0]; p.IntervalS != had || !strings.Contains(p.Why, "can't be set") {
			t.Errorf("the peer still has %d s, and the status says %d s: %s", had, p.IntervalS, p.Why)
		}
	})
}

// TestPeerOff: a peer that is off says nothing about the path while others
// make handshakes, and doesn't hide it when they stop.
func TestPeerOff(t *testing.T) {
	off := key(2)
	tuned(t, func(w *world, cfg *Config) {
		cfg.Peers[off] = 0
		w.peers[off] = vpn.PeerState{
			PublicKey: off, Endpoint: netip.MustParseAddrPort("192.0.2.2:51820"), LastHandshake: time.Now().Add(-time.Hour),
		}
	}, func(w *world, _ *Tuner) {
		handshakes := func(n int) {
			for range n {
				time.Sleep(30 * time.Second)
				synctest.Wait()
				w.change(func() {
					p := w.peers[first]
					p.LastHandshake = time.Now()
					w.peers[first] = p
				})
			}
		}
		handshakes(20)
		if got := w.interval(); got != 52 {
			t.Errorf("with one of two peers off the interval is %d s, want 52", got)
		}
		w.change(func() { w.lifetimes["home"] = 0 })
		time.Sleep(200 * time.Second)
		synctest.Wait()
		if got := w.interval(); got != 13 {
			t.Errorf("with both silent the interval is %d s, want 13", got)
		}
	})
}

// TestBackAfterLong: whoever was offline for long had no handshakes, which says
// nothing about the network that it comes to.
func TestBackAfterLong(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		w.change(func() { w.offline = true })
		w.signal()
		w.pass(time.Hour)
		w.move(home)
		time.Sleep(20 * time.Second) // a handshake may take that long where packets are lost
		synctest.Wait()
		if got := w.interval(); got != 52 {
			t.Errorf("back in a known network: %d s, want 52", got)
		}
		if len(w.measured) != 1 {
			t.Errorf("measured %v", w.measured)
		}
	})
}

// TestOff: where no keepalives are needed, peers learn this machine's new address
// all the same.
func TestOff(t *testing.T) {
	tuned(t, func(w *world, _ *Config) {
		w.memory["home ipv4"] = Known{Network: "home", Family: "ipv4", IntervalS: 0, MeasuredAt: time.Now()}
	}, func(w *world, _ *Tuner) {
		equal(t, "set", w.set, []string{"0s peer 1: 0", "0s peer 1: 13", "0s peer 1: 0"})
	})
}

// TestOffUndecided: off is longer than any fallback.
func TestOffUndecided(t *testing.T) {
	tuned(t, func(w *world, _ *Config) {
		w.memory["home ipv4"] = Known{Network: "home", Family: "ipv4", IntervalS: 0, MeasuredAt: time.Now().AddDate(0, -2, 0)}
		w.undecided = true
	}, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		if got := w.interval(); got != 52 {
			t.Errorf("the interval is %d s, want the fallback, 52", got)
		}
	})
}

// TestMonth: a machine that stays where it is measures anew, too.
func TestMonth(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(time.Hour)
		w.change(func() { w.lifetimes["home"] = 100 })
		w.pass(31 * 24 * time.Hour)
		if got := w.interval(); got != 99 {
			t.Errorf("a month after the lifetime grew the interval is %d s, want 99", got)
		}
	})
}

// TestDeafPeer: where the first peer answers no measurements another one may.
func TestDeafPeer(t *testing.T) {
	second := key(2)
	tuned(t, func(w *world, cfg *Config) {
		cfg.Peers[second] = 0
		w.peers[second] = vpn.PeerState{PublicKey: second, Endpoint: netip.MustParseAddrPort("192.0.2.2:51820")}
		w.deaf = map[vpn.PublicKey]bool{first: true}
	}, func(w *world, _ *Tuner) {
		w.pass(2 * time.Minute)
		equal(t, "measured", w.measured, []string{"20s home: no reflector", "55s home: 53"})
	})
}

// TestStarts: all peers get the same, so what is safe for one of them counts.
func TestStarts(t *testing.T) {
	second := key(2)
	tuned(t, func(_ *world, cfg *Config) { cfg.Peers[first], cfg.Peers[second] = 60, 0 }, func(w *world, _ *Tuner) {
		if len(w.set) == 0 || !strings.HasSuffix(w.set[0], ": 13") {
			t.Errorf("set %v, want 13", w.set)
		}
	})
}

// TestGatewaySilent: a gateway that doesn't say its hardware address for a moment
// makes no new network, and one that never said it none that is known.
func TestGatewaySilent(t *testing.T) {
	unsure := Network{ID: "192.168.1.0/24", Label: "home", Local: home.Local, Unsure: true}
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		set := len(w.set)
		w.move(unsure)
		w.pass(time.Minute)
		w.move(home)
		if len(w.set) != set || len(w.measured) != 1 {
			t.Errorf("set %v, measured %v: it is the same network", w.set, w.measured)
		}
		// Elsewhere, with the same addresses.
		w.change(func() { w.offline, w.lifetimes[unsure.ID] = true, 53 })
		w.signal()
		w.move(unsure)
		w.pass(time.Minute)
		if _, ok := w.Recall(unsure.ID, "ipv4"); ok || w.interval() != 52 {
			t.Errorf("%d s, remembered: %v; want what was measured, and not to remember it", w.interval(), ok)
		}
		w.change(func() {
			w.memory[memoryKey(unsure.ID, "ipv4")] = Known{IntervalS: 119, MeasuredAt: time.Now()}
			w.offline = true
		})
		w.signal()
		w.move(unsure)
		if got := w.interval(); got != 13 {
			t.Errorf("in a network that may be any the interval is %d s, want 13", got)
		}
	})
}
