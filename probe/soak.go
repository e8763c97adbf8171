package probe

import (
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

const (
	// soakStagger is the most time between the starts of two flows of a soak.
	soakStagger = 250 * time.Millisecond
	// soakRetry is the pause after a sample that never began, and soakCut that
	// while the path is cut.
	soakRetry = 500 * time.Millisecond
	soakCut   = time.Second
)

// soak keeps flows alive with one interval and has the reflector knock at the
// end of each: that is a trial whose gap is the interval. The reflector's burst
// leaves when the interval is over, so that a copy that arrives proves a mapping
// that lived through all of it; then comes the next keepalive.
//
// A flow in the exchange regime begins anew for each sample, as only a tunnel's
// first keepalive finds such a mapping. One in the stream regime goes on for as
// long as it is reached. One that isn't begins anew too: its mapping is gone,
// and the one that its next keepalive makes is of another regime.
type soak struct {
	e       *engine
	cfg     SoakConfig
	counts  map[results.Regime]*tally
	reasons map[results.Reason]int
	// distrusts is the engine's, at the last count from the start.
	distrusts int
}

type tally struct{ reached, missed, unknown int }

// newSoak returns an engine that soaks instead of measuring. cfg must be valid.
func newSoak(cfg SoakConfig, ports PortState, start time.Time) *soak {
	cfg = cfg.withDefaults()
	e := newEngine(Config{
		Reflector: cfg.Reflector, Regimes: cfg.Regimes, Min: cfg.silence(), Max: cfg.silence(),
		Budget: cfg.Budget, Seed: cfg.Seed,
	}, ports, start)
	s := &soak{e: e, cfg: cfg, counts: make(map[results.Regime]*tally), reasons: make(map[results.Reason]int)}
	for _, r := range cfg.Regimes {
		s.counts[r] = &tally{}
	}
	e.ready, e.trialOver, e.gapFlag = s.begin, s.sampleOver, "--interval"
	return s
}

// begin starts the flows, the regimes in turn.
func (s *soak) begin() {
	s.e.sentinels.begin()
	stagger := min(s.cfg.silence()/time.Duration(s.cfg.Flows), soakStagger)
	for i := range s.cfg.Flows {
		// The plan made a ladder of one rung for each regime.
		r := s.e.plan.ladders[i%len(s.e.plan.ladders)].rungs[0]
		s.e.after(sentinelLead+time.Duration(i)*stagger, func() { s.sample(r, nil) })
	}
}

// sample begins a flow's next interval. last is its previous one where the
// flow goes on.
func (s *soak) sample(r *rung, last *trial) {
	if s.e.control.outage {
		s.e.after(soakCut, func() { s.sample(r, last) })
		return
	}
	t := &trial{e: s.e, rung: r, keeps: r.ladder.regime == results.Stream}
	if last != nil {
		t.flow, t.proven = last.flow, last.order.sentAt
		t.external = last.order.receipt.From // another one is a new mapping, which is no stream
	}
	s.e.plan.inFlight = append(s.e.plan.inFlight, t)
	t.begin()
}

// sampleOver counts a sample, and ends the soak where that decides it.
func (s *soak) sampleOver(t *trial) {
	s.e.plan.inFlight = slices.DeleteFunc(s.e.plan.inFlight, func(other *trial) bool { return other == t })
	s.count(t)
	s.recount()
	pause, last := time.Duration(0), (*trial)(nil)
	switch {
	case t.outcome == results.Alive && t.keeps:
		last = t
	case t.outcome == results.Inconclusive:
		pause = soakRetry
	}
	if s.verdict() != results.Undecided {
		s.e.end(nil)
		return
	}
	s.e.after(pause, func() { s.sample(t.rung, last) })
}

func (s *soak) count(t *trial) {
	n := s.counts[t.rung.ladder.regime]
	switch t.outcome {
	case results.Alive:
		n.reached++
	case results.Expired:
		n.missed++
	case results.Inconclusive:
		if t.order != nil { // else the interval had not begun
			n.unknown++
			s.reasons[t.reason]++
		}
	}
}

// recount counts anew where expiries turned out to prove nothing.
func (s *soak) recount() {
	if s.distrusts == s.e.distrusts {
		return
	}
	s.distrusts = s.e.distrusts
	clear(s.reasons)
	for _, n := range s.counts {
		*n = tally{}
	}
	for _, t := range s.e.finished {
		s.count(t)
	}
}

// verdict is the worst of the regimes'.
func (s *soak) verdict() results.Verdict {
	worst := results.Holds
	for _, n := range s.counts {
		switch results.NewSamples(n.reached, n.missed, n.unknown).Judge(s.cfg.Target) {
		case results.Fails:
			return results.Fails
		case results.Undecided:
			worst = results.Undecided
		case results.Holds:
		}
	}
	return worst
}

// result returns what the soak has shown so far.
func (s *soak) result() *results.Verification {
	s.recount()
	e := s.e
	inbound := e.path.inbound()
	v := &results.Verification{
		Schema:    results.SchemaVerification,
		StartedAt: e.start,
		EndedAt:   e.start.Add(e.now),
		Reflector: e.reflector(),
		IntervalS: s.cfg.Interval.Seconds(),
		SilenceS:  s.cfg.silence().Seconds(),
		Target:    s.cfg.Target,
		Verdict:   s.verdict(),
		Reasons:   s.reasons,
		Loss:      e.path.outbound(),
		Events:    e.events,
		Effort:    e.effort,
	}
	v.Loss.Inbound = &inbound
	v.Effort.ElapsedS = e.now.Seconds()
	var all tally
	for _, r := range s.cfg.Regimes {
		n := s.counts[r]
		v.Regimes = append(v.Regimes, results.RegimeSamples{Regime: r, Samples: results.NewSamples(n.reached, n.missed, n.unknown)})
		all.reached, all.missed, all.unknown = all.reached+n.reached, all.missed+n.missed, all.unknown+n.unknown
	}
	v.Samples = results.NewSamples(all.reached, all.missed, all.unknown)
	return v
}
