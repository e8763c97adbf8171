package natmodel

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// NAT is one box on a path. Make it with [New]. It is not safe for concurrent use.
//
// Time is the duration since any fixed start and never runs backwards: an
// earlier time than one already seen counts as that one.
type NAT struct {
	cfg      Config
	low      uint16 // lowest external port
	span     int    // how many external ports there are
	mapBy    Dependence
	lookupBy Dependence

	rng   *rand.Rand
	phase time.Duration // sweeps run at phase + k × cfg.Sweep
	now   time.Duration // latest time seen
	next  int           // offset of the next port, for Sequential
	table table
	pairs map[netip.Addr]netip.Addr // internal address to its external one, for Paired
}

// New returns a NAT with an empty table.
func New(cfg Config) (*NAT, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.External = slices.Clone(cfg.External)
	low, high := cfg.portRange()
	n := &NAT{
		cfg:  cfg,
		low:  low,
		span: int(high) - int(low) + 1,
		rng:  rand.New(rand.NewPCG(cfg.Seed, 0x6e61746d6f64656c)), //nolint:gosec // a model wants repeatable chance
	}
	switch {
	case cfg.NoTranslation:
		// A firewall's flows are told apart as far as its filter looks.
		n.mapBy, n.lookupBy = cfg.Filtering, cfg.Filtering
	case cfg.PortOverlap:
		n.mapBy, n.lookupBy = cfg.Mapping, cfg.Mapping
	default:
		n.mapBy, n.lookupBy = cfg.Mapping, EndpointIndependent
	}
	if cfg.Ports == Sequential {
		n.next = n.rng.IntN(n.span)
	}
	n.Flush()
	return n, nil
}

// Config returns the config in force, with the external addresses of today.
func (n *NAT) Config() Config {
	c := n.cfg
	c.External = slices.Clone(c.External)
	return c
}

// Outbound passes a packet from inside to outside. It makes or refreshes the
// mapping and returns the translated packet, or false where it is dropped: no
// hops left, table full, no port free, or the wrong IP version.
//
// A packet whose hops end here still refreshes a mapping that exists, but makes
// none: Linux looks a flow up before it looks at the TTL, and keeps a new flow
// only once its packet leaves.
func (n *NAT) Outbound(now time.Duration, p Packet) (Packet, bool) {
	now = n.advance(now)
	if !n.cfg.NoTranslation && p.Src.Addr().Is4() != n.cfg.External[0].Is4() {
		return Packet{}, false
	}
	forwarded := p.TTL > 1

	key := tuple{p.Src, n.mapBy.of(p.Dst)}
	m := n.table.inside[key]
	if m == nil || !n.live(m, now) {
		if !forwarded {
			return Packet{}, false
		}
		if m = n.create(now, key, p.Dst); m == nil {
			return Packet{}, false
		}
	}
	n.restart(m, now)
	if !forwarded {
		return Packet{}, false
	}
	m.permit(n.cfg.Filtering.of(p.Dst))
	p.Src = m.external
	p.TTL--
	return p, true
}

// Inbound passes a packet from outside to inside. It returns the translated
// packet, or false where it is dropped: no live mapping, filtered, no hops left.
func (n *NAT) Inbound(now time.Duration, p Packet) (Packet, bool) {
	now = n.advance(now)
	if !n.cfg.NoTranslation && !slices.Contains(n.cfg.External, p.Dst.Addr()) {
		return Packet{}, false
	}
	m := n.table.outside[tuple{p.Dst, n.lookupBy.of(p.Src)}]
	if m == nil || !n.live(m, now) || !m.permits(n.cfg.Filtering.of(p.Src)) {
		n.stray(now, p)
		return Packet{}, false
	}
	if n.cfg.RefreshInbound {
		n.restart(m, now)
	}
	// Noted after the timer was chosen: a first reply doesn't yet count for itself.
	m.replied = true
	if p.TTL <= 1 {
		return Packet{}, false
	}
	p.Dst = m.internal
	p.TTL--
	return p, true
}

// Flush forgets all state, as a reboot does.
func (n *NAT) Flush() {
	n.table = newTable()
	n.pairs = make(map[netip.Addr]netip.Addr)
	if n.cfg.Sweep > 0 {
		n.phase = time.Duration(n.rng.Int64N(int64(n.cfg.Sweep)))
	}
}

// ChangeExternal replaces the external addresses and forgets all state, as
// routers do when their uplink gets another address. The new ones must be of the
// IP version of the old ones. It fails, and changes nothing, on a bad pool or
// where nothing is translated.
func (n *NAT) ChangeExternal(pool []netip.Addr) error {
	cfg := n.cfg
	cfg.External = slices.Clone(pool)
	if err := checkChange(n.cfg, pool); err != nil {
		return err
	}
	n.cfg = cfg
	n.Flush()
	return nil
}

// Mappings returns the number of live mappings, those included that only a sweep
// has yet to remove. State left by stray packets isn't counted.
func (n *NAT) Mappings(now time.Duration) int {
	now = max(now, n.now)
	live := 0
	for _, m := range n.table.inside {
		if n.live(m, now) {
			live++
		}
	}
	return live
}

// advance moves the clock, which never runs backwards.
func (n *NAT) advance(now time.Duration) time.Duration {
	n.now = max(n.now, now)
	return n.now
}

// live says whether a mapping still works. With a lazy sweep it does until the
// first sweep at or after its deadline.
func (n *NAT) live(m *mapping, now time.Duration) bool {
	if now < m.deadline {
		return true
	}
	if n.cfg.Sweep == 0 {
		return false
	}
	// Rounded up; not negative, for deadlines are positive and phase < Sweep.
	sweeps := (m.deadline - n.phase + n.cfg.Sweep - 1) / n.cfg.Sweep
	return now < n.phase+sweeps*n.cfg.Sweep
}

// restart starts the timer that the mapping's traffic so far asks for.
func (n *NAT) restart(m *mapping, now time.Duration) {
	timer := n.cfg.Timers.Solitary
	switch {
	case m.replied && now-m.born > n.cfg.StreamAfter:
		timer = n.cfg.Timers.Stream
	case m.replied:
		timer = n.cfg.Timers.Exchange
	case m.started:
		timer = n.cfg.Timers.Oneway
	}
	m.started = true
	m.deadline = now + timer
}

// create makes a mapping for an internal endpoint's first packet to remote, or
// returns nil where table or ports are used up.
func (n *NAT) create(now time.Duration, key tuple, remote netip.AddrPort) *mapping {
	if dead := n.table.inside[key]; dead != nil {
		n.table.remove(dead)
	}
	if !n.makeRoom(now) {
		return nil
	}
	external := key.local
	if !n.cfg.NoTranslation {
		var ok bool
		if external, ok = n.allocate(now, key.local, remote); !ok {
			return nil
		}
	}
	m := &mapping{
		internal:  key.local,
		external:  external,
		inKey:     key,
		outKey:    tuple{external, n.lookupBy.of(remote)},
		permitted: n.cfg.Filtering.of(remote),
		born:      now,
	}
	n.table.add(m)
	return m
}

// stray deals with a packet from outside that belongs to no mapping.
func (n *NAT) stray(now time.Duration, p Packet) {
	if n.cfg.WANInput != Accept {
		return
	}
	key := tuple{p.Dst, p.Src}
	s := n.table.strays[key]
	if s == nil || !n.live(s, now) {
		if s != nil {
			n.table.remove(s)
		}
		if !n.makeRoom(now) {
			return
		}
		s = &mapping{external: p.Dst, outKey: key, stray: true, born: now}
		n.table.add(s)
	}
	n.restart(s, now)
}
