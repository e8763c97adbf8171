package probe

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// A packet that dies after some hops refreshes the boxes up to there and none
// beyond. With such keepalives a trial's silence is one for the far part of the
// path only.

const (
	// keepPeriod is the time between the keepalives of a kept flow; no box for
	// people has a timer below 2 s.
	keepPeriod = 1500 * time.Millisecond
	// keepPart is how many there are at least in a gap.
	keepPart = 4
	// wholeWay stands for keepalives that reach the reflector.
	wholeWay = -1
)

// errNoHopLimit reports a socket whose packets can't be limited.
var errNoHopLimit = errors.New("this system limits no hops on this socket")

// sendHops is send for a packet that dies after so many hops.
func (e *engine) sendHops(f *flow, payload []byte, hops int) {
	e.send(f, payload)
	e.actions[len(e.actions)-1].hops = hops
}

// keepNear sends the keepalives of a trial with a reach until its burst is due.
func (t *trial) keepNear() {
	if t.reach == 0 || t.phase != phaseSilent || t.e.now >= t.order.burstEnds() {
		return
	}
	if t.order.sentAt < t.e.now { // the order itself is the first
		payload := wire.Check{ID: t.newID(), Token: t.token()}.Encode()
		if t.reach == wholeWay {
			t.e.send(t.flow, payload)
		} else {
			t.e.sendHops(t.flow, payload, t.reach)
		}
	}
	t.e.after(min(keepPeriod, t.rung.gap/keepPart), t.keepNear)
}

// tooFar ends a trial one of whose keepalives was answered: it was to die on the
// way, and has refreshed all of it.
func (t *trial) tooFar() {
	if t.phase == phaseSilent && t.reach > 0 {
		t.finish(results.Inconclusive, results.ReasonReached)
	}
}

// limited is a socket that knows its hop limit itself, as those of modelled
// networks do.
type limited interface{ SetTTL(hops int) error }

// writeHops sends a packet that dies after so many hops. Its error wraps
// errNoHopLimit where the socket can't.
func writeHops(conn net.PacketConn, payload []byte, to net.Addr, hops int) error {
	get, set, ok := hopLimit(conn, to)
	if !ok {
		return fmt.Errorf("%w: it is none of the system's", errNoHopLimit)
	}
	before, err := get()
	if err == nil {
		err = set(hops)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoHopLimit, err)
	}
	_, err = conn.WriteTo(payload, to)
	if again := set(before); again != nil {
		return fmt.Errorf("%w: %w", errNoHopLimit, again)
	}
	return err
}

// usualHops is what systems begin with (RFC 1340).
const usualHops = 64

// hopLimit returns how a socket's limit is read and changed, if it has one.
func hopLimit(conn net.PacketConn, to net.Addr) (get func() (int, error), set func(int) error, ok bool) {
	if own, ok := conn.(limited); ok {
		return func() (int, error) { return usualHops, nil }, own.SetTTL, true
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, nil, false
	}
	if at, ok := to.(*net.UDPAddr); ok && at.IP.To4() == nil {
		six := ipv6.NewPacketConn(udp)
		return six.HopLimit, six.SetHopLimit, true
	}
	four := ipv4.NewPacketConn(udp)
	return four.TTL, four.SetTTL, true
}

const (
	// farthest is how many hops away a reflector is looked for. Paths of the
	// Internet have some 30 at most.
	farthest = 40
	// hopRounds of packets make up for loss.
	hopRounds = 3
	// hopPace leaves room in the packet rate that a reflector grants.
	hopPace  = 12 * time.Millisecond
	hopsWait = 700 * time.Millisecond
)

// hopFinder finds out how many hops away the reflector is: the smallest limit
// with which a packet is answered.
type hopFinder struct {
	e    *engine
	flow *flow
	sent map[wire.ID]int // hop limits
	done func()

	hops  int // 0: not known
	cant  bool
	ended bool
}

func (h *hopFinder) begin() {
	h.sent = make(map[wire.ID]int)
	h.flow = h.e.open(h, results.Stream)
	h.next(0)
}

func (h *hopFinder) next(i int) {
	switch {
	case h.ended:
	case i == hopRounds*farthest:
		h.e.after(hopsWait+2*h.e.path.maxRTT(h.e.now), h.end)
	default:
		limit := 1 + i%farthest
		if h.hops == 0 || limit < h.hops {
			id := wire.NewID()
			h.sent[id] = limit
			h.e.sendHops(h.flow, wire.Check{ID: id, Token: h.e.control.tokens.first()}.Encode(), limit)
			h.e.after(hopPace, func() { h.next(i + 1) })
			return
		}
		h.next(i + 1)
	}
}

func (h *hopFinder) end() {
	if !h.ended {
		h.ended = true
		h.e.close(h.flow)
		h.done()
	}
}

func (h *hopFinder) received(r wire.Reply) {
	if r, ok := r.(wire.CheckReply); ok {
		if limit := h.sent[r.ID]; limit > 0 && (h.hops == 0 || limit < h.hops) {
			h.hops = limit
		}
	}
}

func (h *hopFinder) stray() {}

func (h *hopFinder) failed(err error) {
	h.cant = h.cant || errors.Is(err, errNoHopLimit)
	if h.cant {
		h.end()
	}
}
