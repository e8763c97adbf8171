package tuner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn"
)

// path looks after the peers of one family of addresses. All its fields but
// shown belong to the goroutine of run.
type path struct {
	t      *Tuner
	family results.Family
	moved  chan struct{} // the machine may have moved

	network  Network
	arrived  bool                     // network is valid, and something is set there
	since    time.Time                // of arrival there
	interval int                      // seconds in force, or to be where it could not be set yet
	why      string                   // the interval's reason
	start    int                      // seconds that are safe here
	set      map[vpn.PublicKey]uint64 // the peers that have the interval, with the bytes they had sent
	refusals map[vpn.PublicKey]string // why a peer's interval can't be set, as the log has it
	known    Known                    // of this network; its MeasuredAt is zero where nothing is known
	silent   bool                     // the peer has gone silent, and that was dealt with

	job      *job // nil: nothing runs
	next     task
	nextAt   *time.Timer
	turn     int           // whose turn it is to be measured against
	retry    time.Duration // the last wait after a failure
	verified time.Duration // the last wait before a trial

	shown PathStatus // guarded by Tuner.mu
}

// task is what is done next.
type task int

const (
	taskNone task = iota
	taskMeasure
	taskVerify
)

func (k task) String() string {
	return [...]string{"", "measure", "verify"}[k]
}

func newPath(t *Tuner, family results.Family) *path {
	return &path{
		t: t, family: family, moved: make(chan struct{}, 1), set: make(map[vpn.PublicKey]uint64),
		refusals: make(map[vpn.PublicKey]string),
		shown:    PathStatus{Family: family, Phase: PhaseWaiting},
	}
}

func (p *path) run(ctx context.Context) {
	p.nextAt = time.NewTimer(0)
	p.nextAt.Stop()
	look := time.NewTicker(p.t.cfg.Pace.Look)
	defer look.Stop()
	defer func() { p.stop() }()
	p.look(ctx)
	for {
		var done <-chan outcome
		if p.job != nil {
			done = p.job.done
		}
		select {
		case <-ctx.Done():
			return
		case <-p.moved:
			p.look(ctx)
		case <-look.C:
			p.look(ctx)
		case <-p.nextAt.C:
			p.begin(ctx)
		case found := <-done:
			p.job.cancel()
			p.job = nil
			p.ended(ctx, found)
		}
	}
}

// peers returns those that the path has to look after, in a steady order.
func (p *path) peers() ([]vpn.PeerState, error) {
	all, err := p.t.cfg.Applier.Peers()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s vpn.PeerState) bool {
		_, ours := p.t.cfg.Peers[s.PublicKey]
		return !ours || !s.Endpoint.IsValid() || s.Endpoint.Addr().Unmap().Is4() != (p.family == results.IPv4)
	})
	slices.SortFunc(all, func(a, b vpn.PeerState) int { return slices.Compare(a.PublicKey[:], b.PublicKey[:]) })
	return all, nil
}

// look finds out where the machine is and how its peers are.
func (p *path) look(ctx context.Context) {
	peers, err := p.peers()
	if err != nil {
		p.show(func(s *PathStatus) { s.Trouble = err.Error() })
		return
	}
	if len(peers) == 0 {
		p.leave(PhaseWaiting)
		return
	}
	network, err := p.t.cfg.Locate(peers[0].Endpoint.Addr())
	switch {
	case errors.Is(err, ErrOffline):
		p.leave(PhaseOffline)
		return
	case err != nil:
		p.show(func(s *PathStatus) { s.Trouble = err.Error() })
		return
	}
	if !p.arrived || network != p.network && !network.mayBe(p.network) {
		p.arrive(ctx, network)
		return
	}
	p.complete(ctx, peers)
	p.listen(ctx, peers)
}

// complete sets the interval of peers that appeared, moved over from the other
// family, or were made anew, as the bytes that they sent tell.
func (p *path) complete(ctx context.Context, peers []vpn.PeerState) {
	var missing []vpn.PeerState
	here := make(map[vpn.PublicKey]uint64, len(peers))
	for _, peer := range peers {
		if sent, ok := p.set[peer.PublicKey]; !ok || peer.SentBytes < sent {
			missing = append(missing, peer)
		} else {
			here[peer.PublicKey] = peer.SentBytes
		}
	}
	p.set = here
	if len(missing) > 0 {
		p.applyTo(ctx, missing, p.interval, p.why)
	}
}

// leave stops what goes on. The intervals stay: without a path none of them is
// better than another.
func (p *path) leave(phase Phase) {
	p.stop()
	p.schedule(taskNone, 0)
	p.arrived = false
	clear(p.set)
	p.show(func(s *PathStatus) { s.leave(phase, "") })
}

// arrive begins anew in a network.
func (p *path) arrive(ctx context.Context, network Network) {
	again := p.arrived && network.ID == p.network.ID
	p.stop()
	p.network, p.arrived, p.silent = network, true, false
	p.since = time.Now().Round(0) // without the monotonic clock, so that sleep counts
	p.retry, p.verified = 0, 0
	p.start = p.safeStart()
	clear(p.set)
	known, ok := p.t.cfg.Memory.Recall(network.ID, p.family)
	ok = ok && !network.Unsure
	p.known = Known{Network: network.ID, Label: network.Label, Family: p.family}
	if ok {
		p.known = known
		p.known.Label = network.Label
	}
	p.show(func(s *PathStatus) { s.leave(PhaseUnknown, network.Label) })
	p.showKnown()
	switch {
	case ok && again:
		p.apply(ctx, known.IntervalS, "this machine's address changed in a network that is known")
	case ok:
		p.apply(ctx, known.IntervalS, "remembered from when this network was measured last")
	default:
		p.apply(ctx, p.start, "a safe start in a network that is not known yet")
	}
	if p.interval == 0 {
		p.announce(ctx)
	}
	if !ok || time.Since(known.MeasuredAt) > p.t.cfg.Pace.MeasureAgain {
		p.schedule(taskMeasure, 0)
		return
	}
	p.show(func(s *PathStatus) { s.Phase = PhaseSet })
	p.schedule(taskVerify, firstTrial)
}

// announce lets peers know this machine's new address where no keepalive does:
// turning keepalives on sends one.
func (p *path) announce(ctx context.Context) {
	for peer := range p.set {
		for _, seconds := range []uint16{SafeStart, 0} {
			if err := p.t.cfg.Applier.SetKeepalive(ctx, peer, seconds); err != nil {
				p.refused(peer, err)
				break
			}
		}
	}
}

// firstTrial is the wait before a remembered interval is tried: what else this
// machine does on arrival comes first.
const firstTrial = 5 * time.Second

// safeStart is the least that the peers start from: all get the same.
func (p *path) safeStart() int {
	start := 0
	for _, seconds := range p.t.cfg.Peers {
		s := int(seconds)
		if s == 0 {
			s = SafeStart
		}
		if start == 0 || s < start {
			start = s
		}
	}
	return start
}

const (
	// handshakeEvery is when a tunnel with keepalives makes a new handshake
	// (WireGuard's REKEY-AFTER-TIME), rekeyTimeout how often it tries
	// (REKEY-TIMEOUT), and rejectAfter when the keys of the last one are
	// worthless (REJECT-AFTER-TIME).
	handshakeEvery = 120 * time.Second
	rejectAfter    = 180 * time.Second
	rekeyTimeout   = 5 * time.Second
)

// listen notices that the peers have gone silent: with keepalives there is a
// handshake every two minutes or so. Where one of them still makes handshakes,
// the others are off themselves.
func (p *path) listen(ctx context.Context, peers []vpn.PeerState) {
	if p.interval == 0 {
		return
	}
	limit := max(rejectAfter, handshakeEvery+time.Duration(p.interval)*time.Second) + 2*rekeyTimeout
	var last time.Time
	for _, peer := range peers {
		if peer.LastHandshake.After(last) {
			last = peer.LastHandshake
		}
	}
	// Somewhere else, or offline, there was none to be had.
	silent := !last.IsZero() && time.Since(last) > limit && time.Since(p.since) > limit
	if silent && !p.silent {
		if p.t.cfg.Moved != nil {
			p.t.cfg.Moved() // the peer may have another address behind its name by now
		}
		if p.start < p.interval {
			p.apply(ctx, p.start, fmt.Sprintf("no peer has answered for %.0f s", limit.Seconds()))
		}
		p.schedule(taskMeasure, 0)
	}
	p.silent = silent
}

// apply sets an interval for all peers of the path. Set again, it counts at
// once: a keepalive leaves.
func (p *path) apply(ctx context.Context, seconds int, reason string) {
	peers, err := p.peers()
	if err != nil {
		p.show(func(s *PathStatus) { s.Trouble = err.Error() })
		return
	}
	p.applyTo(ctx, peers, seconds, reason)
}

// applyTo sets an interval for some peers of the path. Where it can't be set it
// is not as if it were, and look tries again.
func (p *path) applyTo(ctx context.Context, peers []vpn.PeerState, seconds int, reason string) {
	p.interval, p.why = seconds, reason
	done := false
	for _, peer := range peers {
		if err := p.t.cfg.Applier.SetKeepalive(ctx, peer.PublicKey, uint16(seconds)); err != nil { //nolint:gosec // at most results.MaxGapS
			p.refused(peer.PublicKey, err)
			continue
		}
		delete(p.refusals, peer.PublicKey)
		p.set[peer.PublicKey], done = peer.SentBytes, true
	}
	if done {
		p.t.changed(Change{At: time.Now(), Family: p.family, Network: p.network.Label, IntervalS: seconds, Reason: reason})
	}
	if len(p.set) == 0 && len(peers) > 0 { // without peers it counts for whoever comes
		seconds, reason = int(peers[0].Keepalive/time.Second), "as it was: it can't be set"
	}
	p.show(func(s *PathStatus) { s.IntervalS, s.Why = seconds, reason })
}

// refused says that an interval can't be set, once for each reason: look tries
// again and again.
func (p *path) refused(peer vpn.PublicKey, err error) {
	delete(p.set, peer)
	p.show(func(s *PathStatus) { s.Trouble = err.Error() })
	if p.refusals[peer] != err.Error() {
		p.refusals[peer] = err.Error()
		p.t.log.Error("a keepalive can't be set", "peer", peer, "seconds", p.interval, "error", err)
	}
}

func (p *path) show(change func(*PathStatus)) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	change(&p.shown)
}

// showKnown shows what the interval follows from.
func (p *path) showKnown() {
	p.show(func(s *PathStatus) {
		s.Lifetimes, s.Recommendation = p.known.Lifetimes, p.known.Recommendation
		s.MeasuredAt, s.VerifiedAt = moment(p.known.MeasuredAt), moment(p.known.VerifiedAt)
	})
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
