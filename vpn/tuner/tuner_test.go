package tuner

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn"
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestNewNetwork: a safe value at once, the measured one when it is known, and
// then trials that become rarer.
func TestNewNetwork(t *testing.T) {
	tuned(t, nil, func(w *world, tuner *Tuner) {
		equal(t, "set at the start", w.set, []string{"0s peer 1: 13"})
		if got := tuner.Status().Paths[0].Phase; got != PhaseMeasuring {
			t.Errorf("it is %s", got)
		}
		w.pass(24 * time.Hour)
		equal(t, "set", w.set, []string{"0s peer 1: 13", "20s peer 1: 52"})
		equal(t, "measured", w.measured, []string{"20s home: 53"})
		equal(t, "tried", w.verified, []string{
			"12m4s 52s: 8 of 8", "33m48s 52s: 8 of 8", "1h15m32s 52s: 8 of 8", "2h37m16s 52s: 8 of 8",
			"5h19m0s 52s: 8 of 8", "10h40m44s 52s: 8 of 8", "16h42m28s 52s: 8 of 8", "22h44m12s 52s: 8 of 8",
		})
		s := tuner.Status()
		if p := s.Paths[0]; len(s.Paths) != 1 || p.Phase != PhaseSet || p.IntervalS != 52 || p.Network != "home" ||
			p.Lifetimes[0].LowerS != 53 || *p.Recommendation.KeepaliveS != 52 || p.Next != "verify" || p.VerifiedAt == nil ||
			!strings.Contains(p.Why, "exchange") {
			t.Errorf("the status is %+v", s)
		}
		if got := len(s.Changes); got != 2 {
			t.Errorf("%d changes in the status, want 2", got)
		}
	})
}

// TestMove: in a new network a safe value at once, in a known one its own.
func TestMove(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		w.move(cafe)
		if got := w.interval(); got != 13 {
			t.Errorf("on arrival in a new network the interval is %d s, want 13", got)
		}
		w.pass(time.Minute)
		if got := w.interval(); got != 29 {
			t.Errorf("measured in the new network: %d s, want 29", got)
		}
		w.move(home)
		if got := w.interval(); got != 52 {
			t.Errorf("on moving back: %d s, want 52 at once", got)
		}
		w.pass(3 * time.Minute)
		equal(t, "measured", w.measured, []string{"20s home: 53", "1m20s cafe: 30"})
		equal(t, "tried after moving back", w.verified, []string{"3m49s 52s: 8 of 8"})
		if w.moves != 2 {
			t.Errorf("told of %d moves, want 2", w.moves)
		}
	})
}

// TestMoveWhileMeasuring: what was found out on the way counts for no network.
func TestMoveWhileMeasuring(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(10 * time.Second)
		w.move(cafe)
		w.pass(time.Minute)
		equal(t, "measured", w.measured, []string{"10s cafe: stopped", "30s cafe: 30"})
		if _, ok := w.Recall("home", results.IPv4); ok {
			t.Error("a measurement that was cut off is remembered")
		}
		if got := w.interval(); got != 29 {
			t.Errorf("the interval is %d s, want 29", got)
		}
	})
}

// TestNoSignal: a move that nobody told of is noticed by looking.
func TestNoSignal(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		w.change(func() { w.network = cafe })
		w.pass(6 * time.Second)
		if got := w.interval(); got != 13 {
			t.Errorf("the interval is %d s, want 13", got)
		}
	})
}

// TestFails: where a trial fails the interval goes down at once, and what is
// right is measured.
func TestFails(t *testing.T) {
	tuned(t, nil, func(w *world, tuner *Tuner) {
		w.pass(time.Minute)
		w.change(func() { w.lifetimes["home"] = 10 })
		w.pass(12*time.Minute + 5*time.Second - time.Minute)
		if got := w.interval(); got != 13 {
			t.Errorf("after the trial failed the interval is %d s, want 13", got)
		}
		if _, ok := w.Recall("home", results.IPv4); ok {
			t.Error("what is wrong is still remembered")
		}
		if got := tuner.Status().Paths[0]; !strings.Contains(got.Why, "8 of 8 trials") || got.Lifetimes != nil {
			t.Errorf("the status is %+v", got)
		}
		w.pass(time.Minute)
		if got := w.interval(); got != 9 {
			t.Errorf("measured anew: %d s, want 9", got)
		}
	})
}

// TestNoReflector: tried again, ever more rarely; what is set stays.
func TestNoReflector(t *testing.T) {
	tuned(t, func(w *world, _ *Config) { w.lifetimes["home"] = 0 }, func(w *world, tuner *Tuner) {
		w.pass(5 * time.Minute)
		equal(t, "set", w.set, []string{"0s peer 1: 13"})
		equal(t, "measured", w.measured, []string{
			"20s home: no reflector", "55s home: no reflector", "1m45s home: no reflector", "3m5s home: no reflector",
		})
		if p := tuner.Status().Paths[0]; !strings.Contains(p.Trouble, "nobody") || p.Next != "measure" && p.Phase != PhaseMeasuring {
			t.Errorf("the status is %+v", p)
		}
		w.change(func() { w.lifetimes["home"] = 53 })
		w.pass(5 * time.Minute)
		if got := w.interval(); got != 52 {
			t.Errorf("with a reflector: %d s, want 52", got)
		}
		if p := tuner.Status().Paths[0]; p.Trouble != "" {
			t.Errorf("the trouble is over, but %q", p.Trouble)
		}
	})
}

// TestReflectorGone: a trial that nobody answers says nothing about the
// interval.
func TestReflectorGone(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		w.change(func() { w.lifetimes["home"] = 0 })
		w.pass(time.Hour)
		if len(w.verified) < 3 {
			t.Errorf("tried %v", w.verified)
		}
		if got := w.interval(); got != 52 {
			t.Errorf("the interval is %d s, want 52 as before", got)
		}
	})
}

// TestOffline: nothing goes on without a network, and nothing is changed.
func TestOffline(t *testing.T) {
	tuned(t, nil, func(w *world, tuner *Tuner) {
		w.pass(10 * time.Second)
		w.change(func() { w.offline = true })
		w.signal()
		if w.measuring != 0 {
			t.Error("a measurement goes on")
		}
		if p := tuner.Status().Paths[0]; p.Phase != PhaseOffline || p.IntervalS != 13 {
			t.Errorf("the status is %+v", p)
		}
		w.pass(time.Hour)
		equal(t, "set", w.set, []string{"0s peer 1: 13"})
		w.move(home)
		w.pass(time.Minute)
		if got := w.interval(); got != 52 {
			t.Errorf("back in the network: %d s, want 52", got)
		}
	})
}

// TestNewAddress: the same network, another address: the interval counts at
// once, on the new path.
func TestNewAddress(t *testing.T) {
	tuned(t, nil, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		again := home
		again.Local = netip.MustParseAddr("192.168.1.77")
		w.move(again)
		equal(t, "set", w.set, []string{"0s peer 1: 13", "20s peer 1: 52", "1m0s peer 1: 52"})
		w.pass(time.Minute)
		equal(t, "measured", w.measured, []string{"20s home: 53"})
	})
}

// TestSilentPeer: a peer that made handshakes and makes none any more.
func TestSilentPeer(t *testing.T) {
	tuned(t, nil, func(w *world, tuner *Tuner) {
		w.pass(time.Minute)
		w.change(func() { w.lifetimes["home"] = 0 })
		time.Sleep(185 * time.Second) // no handshake from here on
		synctest.Wait()
		if got := w.interval(); got != 52 {
			t.Errorf("after 185 s the interval is %d s: a handshake may take that long", got)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if got := w.interval(); got != 13 {
			t.Errorf("after 200 s without a handshake the interval is %d s, want 13", got)
		}
		if w.moves != 1 {
			t.Errorf("asked %d times for another address of the peer, want once", w.moves)
		}
		if got := tuner.Status().Paths[0].Why; !strings.Contains(got, "no peer has answered") {
			t.Errorf("the reason is %q", got)
		}
		set := len(w.set)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(w.set) != set {
			t.Errorf("it was set again and again: %v", w.set)
		}
		w.change(func() { w.lifetimes["home"] = 53 })
		w.pass(10 * time.Minute)
		if got := w.interval(); got != 52 {
			t.Errorf("when the peer is back: %d s, want 52", got)
		}
	})
}

// TestUndecided: a fallback counts where it is shorter than what is set.
func TestUndecided(t *testing.T) {
	for _, test := range []struct{ lifetime, want int }{{53, 13}, {9, 8}} {
		tuned(t, func(w *world, _ *Config) { w.undecided, w.lifetimes["home"] = true, test.lifetime }, func(w *world, tuner *Tuner) {
			w.pass(time.Minute)
			if got := w.interval(); got != test.want {
				t.Errorf("lifetime %d s: the interval is %d s, want %d", test.lifetime, got, test.want)
			}
			if p := tuner.Status().Paths[0]; !strings.Contains(p.Trouble, "too few") {
				t.Errorf("the status is %+v", p)
			}
			if len(w.memory) != 0 {
				t.Error("a fallback is remembered as if it were measured")
			}
		})
	}
}

// TestStart: the number in the file is where to start from.
func TestStart(t *testing.T) {
	tuned(t, func(_ *world, cfg *Config) { cfg.Peers[first] = 25 }, func(w *world, _ *Tuner) {
		equal(t, "set", w.set, []string{"0s peer 1: 25"})
	})
}

// TestPeers: each family has its own path, a peer that appears is set, and one
// that nobody asked for is left alone.
func TestPeers(t *testing.T) {
	second, third, stranger := key(2), key(3), key(9)
	tuned(t, func(w *world, cfg *Config) {
		cfg.Peers[second], cfg.Peers[third] = 0, 0
		w.peers[second] = vpn.PeerState{PublicKey: second, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:51820")}
		w.peers[third] = vpn.PeerState{PublicKey: third} // it is the one that calls
		w.peers[stranger] = vpn.PeerState{PublicKey: stranger, Endpoint: netip.MustParseAddrPort("192.0.2.9:1")}
	}, func(w *world, tuner *Tuner) {
		w.pass(time.Minute)
		s := tuner.Status()
		if len(s.Paths) != 2 || s.Paths[0].Family != results.IPv4 || s.Paths[1].Family != results.IPv6 {
			t.Errorf("the status is %+v", s)
		}
		if len(w.measured) != 2 {
			t.Errorf("measured %v, want each family once", w.measured)
		}
		w.change(func() {
			p := w.peers[third]
			p.Endpoint = netip.MustParseAddrPort("[::ffff:192.0.2.3]:7")
			w.peers[third] = p
		})
		w.pass(10 * time.Second)
		for k, want := range map[vpn.PublicKey]time.Duration{first: 52, second: 52, third: 52, stranger: 0} {
			if got := w.peers[k].Keepalive; got != want*time.Second {
				t.Errorf("peer %d has %v, want %d s", k[0], got, want)
			}
		}
		if len(w.measured) != 2 {
			t.Errorf("measured %v: a peer more is no reason to measure", w.measured)
		}
	})
}

// TestNoPeer: an interface without a peer to look after is no trouble.
func TestNoPeer(t *testing.T) {
	tuned(t, func(w *world, _ *Config) { clear(w.peers) }, func(w *world, tuner *Tuner) {
		w.pass(time.Hour)
		if p := tuner.Status().Paths; len(p) != 1 || p[0].Phase != PhaseWaiting {
			t.Errorf("the status is %+v", p)
		}
	})
}

// TestReadOnly: without a disk to write to, this process still remembers.
func TestReadOnly(t *testing.T) {
	tuned(t, func(w *world, _ *Config) { w.readOnly = true }, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		w.move(cafe)
		w.move(home)
		if got := w.interval(); got != 52 {
			t.Errorf("on moving back: %d s, want 52", got)
		}
	})
}

// TestOld: a measurement from long ago counts until there is a new one.
func TestOld(t *testing.T) {
	tuned(t, func(w *world, _ *Config) {
		w.memory["home ipv4"] = Known{Network: "home", Family: results.IPv4, IntervalS: 40, MeasuredAt: time.Now().AddDate(0, -2, 0)}
	}, func(w *world, _ *Tuner) {
		w.pass(time.Minute)
		equal(t, "set", w.set, []string{"0s peer 1: 40", "20s peer 1: 52"})
	})
}

// TestApplyFails: what can't be set is said, and tried again.
func TestApplyFails(t *testing.T) {
	tuned(t, func(w *world, _ *Config) { w.applyFails = errors.New("operation not permitted") }, func(w *world, tuner *Tuner) {
		if got := tuner.Status().Paths[0].Trouble; !strings.Contains(got, "not permitted") {
			t.Errorf("the trouble is %q", got)
		}
		w.change(func() { w.applyFails = nil })
		w.pass(6 * time.Second)
		if got := w.interval(); got != 13 {
			t.Errorf("the interval is %d s, want 13", got)
		}
	})
}
