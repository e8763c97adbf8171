package probe

import (
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/results"
)

// record returns what the run has shown so far. Tool, Config, Supplied and
// Recommendation are the caller's to fill.
func (e *engine) record() *results.Record {
	r := &results.Record{
		Schema:    results.SchemaRecord,
		ID:        results.NewID(),
		StartedAt: e.start,
		EndedAt:   e.start.Add(e.now),
		Network:   e.network(),
		Reflector: e.reflector(),
		Loss:      e.path.outbound(),
		Effort:    e.effort,
		Complete:  e.complete,
		Events:    e.events,
	}
	inbound := e.path.inbound()
	r.Loss.Inbound = &inbound
	r.Effort.ElapsedS = e.now.Seconds()
	for _, l := range e.plan.ladders {
		r.Trials = append(r.Trials, l.earlier...)
	}
	if len(r.Trials) > 0 {
		r.Resumes = e.cfg.Resume.ID
	}
	for _, t := range e.finished {
		r.Trials = append(r.Trials, t.result())
	}
	stood := true
	for _, l := range e.plan.ladders {
		life := assess(l.regime, r.Trials)
		life.DstPort = int(e.cfg.Reflector.Port())
		life.Payload = "natprobe order"
		r.Lifetimes = append(r.Lifetimes, life)
		r.Effort.Rounds = max(r.Effort.Rounds, l.rounds)
		stood = stood && l.first > 0
		r.Effort.FirstBracketS = max(r.Effort.FirstBracketS, l.first.Seconds())
	}
	if !stood {
		r.Effort.FirstBracketS = 0
	}
	r.Complete = r.Complete || stood // a further round may be cut off
	r.Attribute()
	return r
}

// assess returns a regime's bracket, and marks the expiries that repeats did not
// confirm: loss took their bursts.
func assess(regime results.Regime, trials []results.Trial) results.Lifetime {
	a := results.Assess(regime, trials)
	for _, d := range a.Disputes {
		if t := &trials[d.Trial]; !d.Counts {
			t.Outcome, t.Reason, t.BoundS, t.MeasuredGapS = results.Inconclusive, results.ReasonDisputed, 0, 0
		}
	}
	return a.Lifetime
}

func (e *engine) network() results.Network {
	n := results.Network{Family: familyOf(e.cfg.Reflector.Addr())}
	if mapped := e.control.mapped; mapped.IsValid() {
		kept := mapped.Port() == e.control.flow.port
		n.PortPreservation = &kept
		if kept && e.cfg.Local.IsValid() && mapped.Addr() == e.cfg.Local.Unmap() {
			n.Mapping = "none"
		}
	}
	return n
}

func familyOf(a netip.Addr) results.Family {
	if a.Unmap().Is6() {
		return results.IPv6
	}
	return results.IPv4
}

func (e *engine) reflector() results.Reflector {
	r := results.Reflector{
		AddressClass: addressClass(e.cfg.Reflector.Addr()),
		RTTms:        float64(e.path.min) / float64(time.Millisecond),
	}
	if e.control.running {
		r.BootID = e.control.boot.String()
		r.EgressGapS = e.control.limits.EgressGap.Seconds()
	}
	return r
}

func addressClass(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.IsLoopback():
		return "loopback"
	case a.IsPrivate() || a.IsLinkLocalUnicast():
		return "private"
	default:
		return "public"
	}
}

// progress returns a snapshot for people who watch.
func (e *engine) progress() Progress {
	p := Progress{
		Elapsed: e.now, RTT: e.path.min, Outbound: e.path.outbound(), Inbound: e.path.inbound(),
		Silent:   e.now - e.control.lastReply,
		Mappings: e.mappings(), Certain: e.plan.certain(), Events: e.events,
	}
	for _, l := range e.plan.ladders {
		rp := RegimeProgress{Regime: l.regime, Lower: l.lower(), Upper: l.upper(), Done: l.stands}
		for _, r := range l.rungs {
			rp.Rungs = append(rp.Rungs, Rung{Gap: r.gap, State: r.state()})
		}
		p.Regimes = append(p.Regimes, rp)
		p.Remaining = max(p.Remaining, l.remaining(e.now))
	}
	return p
}

func (r *rung) state() RungState {
	switch {
	case r.active > 0:
		return RungPending
	case r.expired > 0 && r.alive == 0:
		return RungExpired
	case r.alive > 0:
		return RungAlive
	case r.wasted > 0:
		return RungInconclusive
	default:
		return RungUnsent
	}
}

// remaining returns how long this ladder may still take: until the
// confirmations above the longest alive have expired where some did, else
// until its longest rung is over.
func (l *ladder) remaining(now time.Duration) time.Duration {
	if l.stands {
		return 0
	}
	top, expired := l.top(), 0
	var end time.Duration
	for _, r := range l.rungs {
		if r.gap <= top {
			continue
		}
		if expired += r.expired + r.suspected; r.expired == 0 {
			opened := max(r.open, now)
			if r.active > 0 {
				opened = min(r.open, now)
			}
			end = opened + r.gap + orderBy
		}
		if expired >= confirmations {
			break
		}
	}
	return max(end-now, 0)
}
