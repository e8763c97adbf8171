package wgapply

import (
	"fmt"
	"math"
	"time"

	"github.com/natprobe/natprobe/vpn"
)

// What WireGuard's messages measure, as its counters have them: with WireGuard's
// own header, without those of UDP and IP (https://www.wireguard.com/protocol/).
// A message with data is a multiple of 16; those of a handshake never are.
const (
	initiationBytes = 148
	responseBytes   = 92
	keepaliveBytes  = 32
)

const (
	// leastIntervals is how many of our intervals must pass without a keepalive
	// of ours. One may be missing because the peer was faster by chance.
	leastIntervals = 3
	// leastGaps is between how many samples keepalives of the peer must have come.
	// What looks like several at once may be one message with data.
	leastGaps = 3
	// late is how much longer than the interval a keepalive of ours may take, as
	// a factor: the kernel's 1.13 and a margin.
	late = 1.25
	// lateAnyway is for what doesn't grow with the interval.
	lateAnyway = time.Second
	// answered is after how long a received message with data has been answered
	// in any case: WireGuard sends a keepalive 10 s after it (KEEPALIVE-TIMEOUT).
	// So what came in while nothing was sent for longer was keepalives.
	answered = 12 * time.Second
	// settled is for how long the peer may go on answering data that we sent before,
	// with keepalives that are not of the timer meant here: it sends one after
	// 10 s, and another after 20 if more had come in.
	settled = 25 * time.Second
	// sessionEnds is how long a session can be used (REJECT-AFTER-TIME).
	sessionEnds = 180 * time.Second
	// maxHandshakes is how many messages of handshakes between two samples are told
	// from data, in each direction: both ends may call at the same time.
	maxHandshakes = 2
)

// Silence finds out whether a peer's persistent keepalives silence ours. WireGuard
// starts the timer anew with each authenticated packet that it sends or receives,
// so that of two ends the one with the shorter interval keeps the tunnel busy and
// the other one never sends. Behind a NAT that refreshes its mapping on outbound
// packets only, that other end loses it.
//
// It is given samples of a peer's counters, in any rhythm; a few in each of our
// intervals is good. It is pure, and its zero value is ready. One Silence
// watches one peer.
//
// It speaks up after three of our intervals in which we sent nothing but
// handshakes, while keepalives came in often enough to explain it, some of them
// more than 25 s after whatever we sent last, when they can't be its answers. And
// only where at some time nothing at all left for clearly longer than our
// interval: handshakes, each two or three minutes, are as good for a NAT. What it
// can't tell for certain, a busy tunnel above all, it takes for sending.
type Silence struct {
	begun  bool
	last   sample
	window window
}

type sample struct {
	at    time.Time
	state vpn.PeerState
}

// window is the time since something else than a handshake was sent, or since the
// silence could have had another cause.
type window struct {
	length time.Duration
	// mute is how long nothing at all has been sent, longestMute the longest such
	// time. Both are lower bounds.
	mute, longestMute time.Duration
	// quiet is how long no packet has been sent or received.
	quiet time.Duration
	// keepalives counts those received once the window is settled, firstCount those
	// of the first gap that had any; first and last are the middles of the gaps in which they came.
	keepalives, firstCount int
	// gaps counts those in which keepalives came.
	gaps        int
	first, last time.Time
}

// Verdict is what the samples so far say.
type Verdict struct {
	Peer vpn.PublicKey
	// Silenced: our keepalives aren't sent because those of the peer come in.
	// The rest is the evidence, and also there while it is not enough.
	Silenced bool
	// Own is our interval, 0 where we send no keepalives.
	Own time.Duration
	// Theirs is the peer's interval as far as it can be told from what comes in;
	// 0 where it can't.
	Theirs time.Duration
	// Watched is for how long we have sent nothing but handshakes, and Keepalives
	// how many of the peer's timer have come in that time.
	Watched    time.Duration
	Keepalives int
	// Mute is the longest time without any packet of ours.
	Mute time.Duration
}

// String returns the warning for a person, empty where there is none.
func (v Verdict) String() string {
	if !v.Silenced {
		return ""
	}
	return fmt.Sprintf("peer %s sends keepalives itself, about each %d s, and ours (each %d s) are never sent, because WireGuard restarts "+
		"its timer with each packet received; a NAT that refreshes on outbound packets only loses its mapping: "+
		"set PersistentKeepalive on the side behind the NAT only", v.Peer, wholeSeconds(v.Theirs), wholeSeconds(v.Own))
}

func wholeSeconds(d time.Duration) int {
	return max(1, int(math.Round(d.Seconds())))
}

// Add takes the state of the peer at a time. Where the state begins anew (another
// interval, counters that went back, a clock that did) so does the watch.
func (s *Silence) Add(at time.Time, state vpn.PeerState) Verdict {
	before, begun := s.last, s.begun
	s.last, s.begun = sample{at, state}, true
	if !begun || state.Keepalive <= 0 || !before.continues(s.last) {
		s.window = window{}
		return s.verdict()
	}
	g := between(before, s.last)
	if !s.window.extend(g, unheard(state.Keepalive)) {
		s.window = window{}
	}
	return s.verdict()
}

// continues tells whether two samples are of the same state of affairs.
func (s sample) continues(next sample) bool {
	a, b := s.state, next.state
	return a.PublicKey == b.PublicKey && a.Keepalive == b.Keepalive &&
		a.ReceivedBytes <= b.ReceivedBytes && a.SentBytes <= b.SentBytes && !next.at.Before(s.at)
}

// unheard is how long nothing may come in before a keepalive of ours must leave.
func unheard(own time.Duration) time.Duration {
	return time.Duration(late*float64(own)) + lateAnyway
}

func (s *Silence) verdict() Verdict {
	w, own := s.window, s.last.state.Keepalive
	v := Verdict{
		Peer: s.last.state.PublicKey, Own: max(0, own), Theirs: w.theirs(),
		Watched: w.length, Keepalives: w.keepalives, Mute: w.longestMute,
	}
	v.Silenced = own > 0 &&
		w.length >= leastIntervals*own &&
		w.gaps >= leastGaps &&
		w.longestMute >= max(time.Duration(late*float64(own)), answered)
	return v
}

// extend adds a gap, or returns false where we sent in it, or would have had to.
func (w *window) extend(g gap, unheard time.Duration) bool {
	if g.sentOther || g.receivedOther {
		return false
	}
	w.length += g.length
	w.mute += g.length
	if g.sent > 0 {
		w.mute = 0
	}
	w.longestMute = max(w.longestMute, w.mute)
	// A gap without packets makes the quiet longer. In one with packets the
	// longest quiet is at least what it is where they come in equal distances.
	quiet := w.quiet + g.length
	packets := g.sent + g.received
	if packets > 0 {
		quiet = g.length / time.Duration(packets+1)
	}
	if quiet > unheard {
		return false
	}
	w.quiet = quiet
	if packets > 0 {
		w.quiet = 0
	}
	if g.keepalives > 0 && w.length > settled {
		if w.keepalives == 0 {
			w.first, w.firstCount = g.middle, g.keepalives
		}
		w.gaps++
		w.keepalives += g.keepalives
		w.last = g.middle
	}
	return true
}

// theirs is the mean distance of the peer's keepalives.
func (w *window) theirs() time.Duration {
	n := w.keepalives - w.firstCount
	if n < 1 {
		return 0
	}
	return w.last.Sub(w.first) / time.Duration(n)
}

// gap is what happened between two samples.
type gap struct {
	length time.Duration
	middle time.Time
	// sent and received count packets, those of handshakes included.
	sent, received int
	// keepalives are those of the peer's timer.
	keepalives int
	// sentOther: we sent something else than handshakes. receivedOther: something
	// came that neither belongs to a handshake nor is a keepalive.
	sentOther, receivedOther bool
}

func between(a, b sample) gap {
	g := gap{length: b.at.Sub(a.at)}
	g.middle = a.at.Add(g.length / 2)
	shaken := !a.state.LastHandshake.Equal(b.state.LastHandshake)
	out, outOK := split(b.state.SentBytes-a.state.SentBytes, shaken)
	in, inOK := split(b.state.ReceivedBytes-a.state.ReceivedBytes, shaken)

	// Who called confirms the response at once, with a keepalive or with data, and
	// who was called responds at once.
	g.sentOther = !outOK || out.keepalives > in.responses || out.responses > in.initiations
	g.sent = out.packets()
	// The least interval is a second.
	g.receivedOther = !inOK || in.keepalives > uint64(g.length.Seconds())+2
	if g.receivedOther {
		return g
	}
	g.received = in.packets()
	g.keepalives = int(in.keepalives) //nolint:gosec // bounded above
	// A keepalive of a session that gets old makes the peer call, and another one,
	// not of the timer, confirms the new session. Where the old one was dead, the
	// timer's keepalive has waited to be that other one.
	called := shaken && in.responses == 0
	if called && b.state.LastHandshake.Sub(a.state.LastHandshake) < sessionEnds {
		g.keepalives = max(0, g.keepalives-1)
	}
	return g
}

// parts are the messages that make up a number of bytes.
type parts struct{ initiations, responses, keepalives uint64 }

func (p parts) packets() int {
	return int(p.initiations + p.responses + min(p.keepalives, math.MaxInt32)) //nolint:gosec // bounded
}

// split tells which messages a number of bytes can be, with as few of handshakes
// as possible; false where data must be in it. One message of a handshake is
// told by its size. Two may look like data, so that they count only where there
// was a handshake (shaken).
func split(bytes uint64, shaken bool) (parts, bool) {
	most := uint64(1)
	if shaken {
		most = maxHandshakes
	}
	for messages := range most + 1 {
		for initiations := range messages + 1 {
			p := parts{initiations: initiations, responses: messages - initiations}
			known := p.initiations*initiationBytes + p.responses*responseBytes
			if known > bytes || (bytes-known)%keepaliveBytes != 0 {
				continue
			}
			p.keepalives = (bytes - known) / keepaliveBytes
			return p, true
		}
	}
	return parts{}, false
}
