package wgapply

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/vpn"
)

// TestModel ties the model to the real thing: the packets a day, both ways, that
// were counted on wireguard-go for a lone sender.
func TestModel(t *testing.T) {
	for seconds, want := range map[int]int{25: 5530, 119: 1452, 150: 2304, 240: 1080} {
		m := newModel(rand.New(rand.NewPCG(1, 1)))
		m.a.turnOn(time.Duration(seconds) * time.Second)
		m.run(24 * time.Hour)
		if got := len(m.a.left) + len(m.b.left); got < want*97/100 || got > want*103/100 {
			t.Errorf("%d s: %d packets a day, want about %d", seconds, got, want)
		}
	}
}

// TestSilence runs the model with two intervals and traffic.
func TestSilence(t *testing.T) {
	const s = time.Second
	kernel := func(m *model) { m.a.lateness, m.b.lateness = kernelLateness, kernelLateness }
	tests := []struct {
		name      string
		own, peer time.Duration
		change    func(*model)
		want      bool // whether a warning comes, at all
	}{
		{"peer is faster", 25 * s, 20 * s, nil, true},
		{"peer is faster, kernel", 25 * s, 20 * s, kernel, true},
		{"peer is much faster", 25 * s, 2 * s, nil, true},
		{"long intervals", 90 * s, 60 * s, nil, true},
		{"handshakes refresh often enough", 150 * s, 60 * s, nil, false},
		{"ours is off", 0, 20 * s, nil, false},
		{"only ours", 25 * s, 0, nil, false},
		{"only ours, kernel", 25 * s, 0, kernel, false},
		{"only ours, beyond rekeying", 150 * s, 0, nil, false},
		{"only ours, beyond a session", 240 * s, 0, nil, false},
		{"ours is faster", 20 * s, 25 * s, nil, false},
		{"nothing at all", 0, 0, nil, false},
		{"ours while the path is dead", 25 * s, 20 * s, func(m *model) { m.loss = 1 }, false},
		{"busy", 25 * s, 20 * s, func(m *model) { m.a.talk(3*s, true) }, false},
		{"busy inwards", 25 * s, 20 * s, func(m *model) { m.b.talk(3*s, false) }, false},
		{"busy outwards", 25 * s, 20 * s, func(m *model) { m.a.talk(3*s, false) }, false},
		{"busy inwards, short intervals", 4 * s, 3 * s, func(m *model) { m.b.talk(s, false) }, false},
		{"data now and then", 25 * s, 20 * s, func(m *model) { m.a.talk(300*s, true) }, true},
	}
	for _, tt := range tests {
		for _, each := range []time.Duration{200 * time.Millisecond, 5 * s, 17 * s} {
			t.Run(fmt.Sprintf("%s/each %v", tt.name, each), func(t *testing.T) {
				m := newModel(rand.New(rand.NewPCG(7, 7)))
				if tt.change != nil {
					tt.change(m)
				}
				// One after the other, or it is by chance who is first.
				m.a.turnOn(tt.own)
				m.run(s)
				m.b.turnOn(tt.peer)
				var watch Silence
				var verdict Verdict
				for at := s; at < 30*time.Minute && !verdict.Silenced; at += each {
					m.run(at)
					verdict = watch.Add(epoch.Add(at), m.a.state())
				}
				if verdict.Silenced != tt.want {
					t.Errorf("silenced: %v, want %v: %+v", verdict.Silenced, tt.want, verdict)
				}
			})
		}
	}
}

// TestSilenceProperties runs thousands of random tunnels and compares what is
// said with what the model did.
func TestSilenceProperties(t *testing.T) {
	const tunnels = 5000
	warnings := 0
	for seed := range uint64(tunnels) {
		if warned := checkTunnel(t, seed); warned {
			warnings++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	// So that it doesn't hold because nothing ever happens.
	if warnings < tunnels/10 || warnings > tunnels*9/10 {
		t.Errorf("%d of %d tunnels brought a warning", warnings, tunnels)
	}
}

func checkTunnel(t *testing.T, seed uint64) (warned bool) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	seconds := func(least, most int) time.Duration {
		return time.Duration(least+random.IntN(most-least+1)) * time.Second
	}
	m := newModel(random)
	clean := random.IntN(2) == 0
	own, theirs := seconds(2, 130), seconds(1, 130)
	if random.IntN(6) == 0 {
		theirs = 0
	}
	if !clean {
		m.loss = []float64{0, 0.02, 0.2, 1}[random.IntN(4)]
		m.delay = []time.Duration{time.Millisecond, 40 * time.Millisecond, 600 * time.Millisecond}[random.IntN(3)]
		m.a.lateness = []float64{1, kernelLateness}[random.IntN(2)]
		m.b.lateness = []float64{1, kernelLateness}[random.IntN(2)]
		for _, p := range []*modelPeer{m.a, m.b} {
			if random.IntN(2) == 0 {
				p.talk(seconds(1, 200), random.IntN(2) == 0)
			}
		}
	}
	each := []time.Duration{300 * time.Millisecond, time.Second, 4 * time.Second, 15 * time.Second, 40 * time.Second}[random.IntN(5)]
	m.after(m.jitter(30*time.Second), func() { m.b.turnOn(theirs) })
	m.a.turnOn(own)

	describe := func(v Verdict) string {
		return fmt.Sprintf("own %v, theirs %v, each %v, clean %v, at %v: %+v", own, theirs, each, clean, m.now, v)
	}
	var watch Silence
	var verdict Verdict
	for at := time.Duration(0); at < 20*time.Minute; at += each + m.jitter(each/2) {
		m.run(at)
		verdict = watch.Add(epoch.Add(at), m.a.state())
		if !verdict.Silenced {
			continue
		}
		warned = true
		if since := at - verdict.Watched; lastBefore(m.a.fired, at) > since {
			t.Errorf("silenced, but a keepalive of ours left at %v; %s", lastBefore(m.a.fired, at), describe(verdict))
		}
		if longest := longestPause(m.a.left, at-verdict.Watched, at); verdict.Mute > longest {
			t.Errorf("mute for %v at most; %s", longest, describe(verdict))
		}
		if verdict.Watched < 3*own || theirs == 0 || float64(theirs) > late*float64(own)+1e9 {
			t.Errorf("no reason for a warning; %s", describe(verdict))
		}
		if t.Failed() {
			return warned
		}
	}
	if clean && theirs > 0 && theirs < own*8/10 && own <= 90*time.Second && each <= own/3 {
		if !verdict.Silenced {
			t.Errorf("no warning in the end; %s", describe(verdict))
		}
		if off := (verdict.Theirs - theirs).Abs(); off > max(time.Second, theirs/10) {
			t.Errorf("the peer's interval is off by %v; %s", off, describe(verdict))
		}
	}
	return warned
}

func lastBefore(times []time.Duration, at time.Duration) time.Duration {
	last := -time.Hour
	for _, x := range times {
		if x <= at {
			last = x
		}
	}
	return last
}

func longestPause(times []time.Duration, from, until time.Duration) time.Duration {
	longest, last := time.Duration(0), from
	for _, x := range times {
		if x > from && x <= until {
			longest, last = max(longest, x-last), x
		}
	}
	return max(longest, until-last)
}

// TestSilenceBegins checks what makes the watch begin anew.
func TestSilenceBegins(t *testing.T) {
	silent := func() (*Silence, time.Time, vpn.PeerState) {
		var s Silence
		at, state := epoch, vpn.PeerState{PublicKey: alice, Keepalive: 10 * time.Second, SentBytes: 1 << 20, ReceivedBytes: 1 << 20}
		for range 10 {
			s.Add(at, state)
			at = at.Add(5 * time.Second)
			state.ReceivedBytes += keepaliveBytes
		}
		if v := s.Add(at, state); !v.Silenced || v.Theirs != 5*time.Second || v.Keepalives != 5 || v.Watched != 50*time.Second {
			t.Fatalf("no warning to begin with: %+v", v)
		}
		return &s, at, state
	}
	tests := []struct {
		name   string
		after  time.Duration
		change func(*vpn.PeerState)
		want   bool
	}{
		{"a keepalive more", 5 * time.Second, func(p *vpn.PeerState) { p.ReceivedBytes += 32 }, true},
		{"a handshake of ours", 5 * time.Second, func(p *vpn.PeerState) { p.SentBytes += 148 + 32; p.ReceivedBytes += 32 + 92 }, true},
		{"a handshake of the peer", 5 * time.Second, func(p *vpn.PeerState) { p.SentBytes += 92; p.ReceivedBytes += 32 + 148 + 32 }, true},
		{"two at once", 5 * time.Second, func(p *vpn.PeerState) {
			p.SentBytes += 148 + 92 + 32
			p.ReceivedBytes += 148 + 92 + 32
			p.LastHandshake = epoch
		}, true},
		{"a keepalive of ours", 5 * time.Second, func(p *vpn.PeerState) { p.SentBytes += 32 }, false},
		{"data of ours that looks like a call and a response", 5 * time.Second, func(p *vpn.PeerState) {
			p.SentBytes += 148 + 92
			p.ReceivedBytes += 92 + 32
			p.LastHandshake = epoch
		}, false},
		{"a keepalive of ours with a handshake", 5 * time.Second, func(p *vpn.PeerState) { p.SentBytes += 32 + 148 + 32 }, false},
		{"data of ours", 5 * time.Second, func(p *vpn.PeerState) { p.SentBytes += 240; p.ReceivedBytes += 32 }, false},
		{"data of the peer", 5 * time.Second, func(p *vpn.PeerState) { p.ReceivedBytes += 1456 }, false},
		{"too many keepalives", 5 * time.Second, func(p *vpn.PeerState) { p.ReceivedBytes += 32 * 8 }, false},
		{"nothing for long", 20 * time.Second, func(*vpn.PeerState) {}, false},
		{"one in a long time", 60 * time.Second, func(p *vpn.PeerState) { p.ReceivedBytes += 32 }, false},
		{"another interval", 5 * time.Second, func(p *vpn.PeerState) { p.Keepalive = 11 * time.Second }, false},
		{"none", 5 * time.Second, func(p *vpn.PeerState) { p.Keepalive = 0 }, false},
		{"counters from the beginning", 5 * time.Second, func(p *vpn.PeerState) { p.SentBytes, p.ReceivedBytes = 0, 0 }, false},
		{"a clock set back", -time.Hour, func(p *vpn.PeerState) { p.ReceivedBytes += 32 }, false},
		{"another peer", 5 * time.Second, func(p *vpn.PeerState) { p.PublicKey = bob }, false},
		{"the same sample", 0, func(*vpn.PeerState) {}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, at, state := silent()
			tt.change(&state)
			if got := s.Add(at.Add(tt.after), state); got.Silenced != tt.want {
				t.Errorf("silenced: %v, want %v: %+v", got.Silenced, tt.want, got)
			}
		})
	}
}

// TestSilenceOneMessage checks that a message with data of 96 bytes, after a
// handshake that took some tries, isn't taken for four keepalives.
func TestSilenceOneMessage(t *testing.T) {
	var s Silence
	at, state := epoch, vpn.PeerState{PublicKey: alice, Keepalive: 10 * time.Second}
	s.Add(at, state)
	for _, step := range []struct {
		sent, received uint64
		shaken         bool
	}{
		{sent: 92, received: 148}, {}, {sent: 148}, {sent: 148}, {sent: 148 + 32, received: 92, shaken: true},
		{}, {received: 128}, {},
	} {
		at = at.Add(5 * time.Second)
		state.SentBytes += step.sent
		state.ReceivedBytes += step.received
		if step.shaken {
			state.LastHandshake = at
		}
		if v := s.Add(at, state); v.Silenced {
			t.Errorf("a warning at %v: %+v", at.Sub(epoch), v)
		}
	}
	if v := s.Add(at, state); v.Watched != 40*time.Second || v.Mute != 15*time.Second || v.Keepalives != 4 {
		t.Errorf("the watch began anew, or saw something else: %+v", v)
	}
}

func TestVerdictString(t *testing.T) {
	if got := (Verdict{Peer: alice, Own: 25 * time.Second}).String(); got != "" {
		t.Errorf("a warning where there is none: %q", got)
	}
	v := Verdict{Peer: alice, Silenced: true, Own: 25 * time.Second, Theirs: 19_800 * time.Millisecond}
	for _, part := range []string{alice.String(), "about each 20 s", "ours (each 25 s)", "on the side behind the NAT only"} {
		if got := v.String(); !strings.Contains(got, part) {
			t.Errorf("the warning doesn't say %q: %s", part, got)
		}
	}
}
