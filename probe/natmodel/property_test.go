package natmodel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// witness believes only what it has seen: packets that went in and what came out
// of the box. It keeps flat lists and shares no code with the table.
type witness struct {
	cfg   Config
	phase dur
	flows []*flow          // live ones, as of the last packet
	given []netip.AddrPort // external endpoints of all flows so far
}

type flow struct {
	internal, remote, external netip.AddrPort // remote: the first one
	born, deadline             dur
	replied                    bool
	packets                    int
	permits                    []netip.AddrPort
}

// shared says whether two remotes are one for a rule.
func shared(d Dependence, a, b netip.AddrPort) bool {
	switch d {
	case EndpointIndependent:
		return true
	case AddressDependent:
		return a.Addr() == b.Addr()
	default:
		return a == b
	}
}

func (w *witness) mapping() Dependence {
	if w.cfg.NoTranslation {
		return w.cfg.Filtering
	}
	return w.cfg.Mapping
}

func (w *witness) dies(f *flow) dur {
	if w.cfg.Sweep == 0 {
		return f.deadline
	}
	at := w.phase
	for at < f.deadline {
		at += w.cfg.Sweep
	}
	return at
}

func (w *witness) live(now dur) []*flow {
	var live []*flow
	for _, f := range w.flows {
		if now < w.dies(f) {
			live = append(live, f)
		}
	}
	w.flows = live // time only moves on
	return live
}

// packet restarts a flow's timer by the rule in the doc comment of Timers.
func (w *witness) packet(f *flow, now dur) {
	d := w.cfg.Timers.Exchange
	if !f.replied {
		d = w.cfg.Timers.Oneway
		if f.packets == 0 {
			d = w.cfg.Timers.Solitary
		}
	} else if now > f.born+w.cfg.StreamAfter {
		d = w.cfg.Timers.Stream
	}
	f.packets++
	f.deadline = now + d
}

// sent checks a packet that left the box, or was dropped on its way out.
func (w *witness) sent(now dur, before, after Packet, left bool) error {
	var known *flow
	live := w.live(now)
	for _, f := range live {
		if f.internal == before.Src && shared(w.mapping(), f.remote, before.Dst) {
			known = f
		}
	}
	if known != nil {
		w.packet(known, now)
	}
	if want := before.TTL > 1; left != want && (known != nil || left) {
		return fmt.Errorf("packet with TTL %d left: %v", before.TTL, left)
	}
	if !left {
		return nil // no hops, no port, no room
	}
	if after.TTL != before.TTL-1 || after.Dst != before.Dst {
		return fmt.Errorf("%+v left as %+v", before, after)
	}
	if known == nil {
		for _, f := range live {
			if f.external == after.Src && (!w.cfg.PortOverlap || shared(w.mapping(), f.remote, before.Dst)) && !w.cfg.NoTranslation {
				return fmt.Errorf("%v was given out twice", after.Src)
			}
		}
		known = &flow{internal: before.Src, remote: before.Dst, external: after.Src, born: now}
		w.flows = append(w.flows, known)
		w.given = append(w.given, known.external)
		w.packet(known, now)
	}
	if after.Src != known.external {
		return fmt.Errorf("flow at %v left from %v", known.external, after.Src)
	}
	known.permits = append(known.permits, before.Dst)
	return nil
}

// came checks a packet that came in, or was dropped on its way in.
func (w *witness) came(now dur, before, after Packet, passed bool) error {
	for _, f := range w.live(now) {
		if f.external != before.Dst {
			continue
		}
		if (w.cfg.PortOverlap || w.cfg.NoTranslation) && !shared(w.mapping(), f.remote, before.Src) {
			continue
		}
		allowed := false
		for _, r := range f.permits {
			allowed = allowed || shared(w.cfg.Filtering, r, before.Src)
		}
		if !allowed {
			continue
		}
		if w.cfg.RefreshInbound {
			w.packet(f, now)
		}
		f.replied = true
		if want := before.TTL > 1; passed != want {
			return fmt.Errorf("%+v for the live mapping of %v passed: %v", before, f.internal, passed)
		}
		if passed && (after.Dst != f.internal || after.Src != before.Src || after.TTL != before.TTL-1) {
			return fmt.Errorf("%+v arrived as %+v", before, after)
		}
		return nil
	}
	if passed {
		return fmt.Errorf("%+v passed without mapping or permission", before)
	}
	return nil
}

func randomConfig(r *rand.Rand) Config {
	seconds := func(n int) dur { return dur(1+r.IntN(n)) * sec }
	c := Config{
		NoTranslation:  r.IntN(5) == 0,
		External:       []netip.Addr{wan1, wan2}[:1+r.IntN(2)],
		Pooling:        Pooling(r.IntN(2)),
		Mapping:        Dependence(r.IntN(3)),
		Filtering:      Dependence(r.IntN(3)),
		Ports:          PortPolicy(r.IntN(3)),
		MinPort:        5000,
		MaxPort:        uint16(5003 + r.IntN(40)),
		Timers:         Timers{Solitary: seconds(20), Oneway: seconds(20), Exchange: seconds(20), Stream: seconds(20)},
		StreamAfter:    dur(r.IntN(3)) * sec,
		RefreshInbound: r.IntN(2) == 0,
		WANInput:       WANInput(r.IntN(2)),
		Seed:           r.Uint64(),
	}
	if r.IntN(2) == 0 {
		c.Sweep = seconds(15)
	}
	if c.NoTranslation {
		c.WANInput = Drop
	} else if c.Mapping != EndpointIndependent && c.Filtering >= c.Mapping {
		c.PortOverlap = r.IntN(2) == 0
	}
	return c
}

func TestRandomTrafficKeepsInvariants(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		cfg := randomConfig(r)
		b := newBox(t, cfg)
		w := &witness{cfg: cfg, phase: b.phase}

		remotes := []netip.AddrPort{server, sibling, other}
		now := dur(0)
		dropped, passed := 0, 0
		for i := range 400 {
			now += dur(r.Int64N(int64(3 * sec)))
			remote := remotes[r.IntN(len(remotes))]
			ttl := 1 + r.IntN(12)
			var err error
			if r.IntN(2) == 0 {
				host := []netip.Addr{clientA.Addr(), clientB.Addr()}[r.IntN(2)]
				p := Packet{Src: netip.AddrPortFrom(host, uint16(5000+r.IntN(4))), Dst: remote, TTL: ttl}
				q, ok := b.Outbound(now, p)
				err = w.sent(now, p, q, ok)
			} else {
				dst := netip.AddrPortFrom(wan1, uint16(5000+r.IntN(8)))
				if len(w.given) > 0 && r.IntN(4) > 0 {
					dst = w.given[max(0, len(w.given)-1-r.IntN(8))]
				}
				p := Packet{Src: remote, Dst: dst, TTL: ttl}
				q, ok := b.Inbound(now, p)
				err = w.came(now, p, q, ok)
				if ok {
					passed++
				} else {
					dropped++
				}
			}
			if err == nil && b.Mappings(now) != len(w.live(now)) {
				err = fmt.Errorf("Mappings = %d, want %d", b.Mappings(now), len(w.live(now)))
			}
			if err != nil {
				t.Fatalf("seed %d, packet %d at %v: %v\nconfig %+v", seed, i, now, err, cfg)
			}
		}
		if passed == 0 || dropped == 0 {
			t.Fatalf("seed %d: %d packets passed and %d were dropped: nothing was tested", seed, passed, dropped)
		}
	}
}

func TestTableStaysSmall(t *testing.T) {
	b := newBox(t, Linux(30*sec, 120*sec))
	for i := range 20000 {
		at := dur(i) * sec
		b.send(at, netip.AddrPortFrom(clientA.Addr(), uint16(2000+i%50000)), server)
		b.Inbound(at, pkt(other, netip.AddrPortFrom(wan1, uint16(i))))
	}
	if got := b.table.size(); got > 4*pruneFloor {
		t.Errorf("table holds %d entries for 60 live ones", got)
	}
	if len(b.table.inside) != len(b.table.outside) {
		t.Errorf("%d inside and %d outside keys", len(b.table.inside), len(b.table.outside))
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	cfg := Linux(30*sec, 120*sec)
	cfg.External = []netip.Addr{wan1}
	n, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now := dur(i) * 10 * 1e6
		p, _ := n.Outbound(now, pkt(netip.AddrPortFrom(clientA.Addr(), uint16(2000+i%400)), server))
		n.Inbound(now, pkt(server, p.Src))
	}
}
