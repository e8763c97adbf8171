package probe

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

// egress finds out after which silences what a reflector sends comes out of its
// own network. A mapping on the checker's side would end most of these silences
// before, so the flows are kept alive there with packets that die on the way
// (see reach.go): up to so many hops every box had traffic, and beyond them none
// had any, neither in nor out. A burst that comes proves all that is beyond. One
// that doesn't may be anybody's beyond; then flows that are kept alive further
// and further tell at which hop the box is that forgot.
//
// Each gap is tried once in each regime, as firewalls have timers of their own
// for each, and the shortest counts.
type egress struct {
	e     *engine
	cfg   EgressConfig
	hops  hopFinder
	near  int
	where *location // once some gap failed

	clock clockDrift
}

// newEgress returns an engine that checks instead of measuring. cfg must be
// valid.
func newEgress(cfg EgressConfig, ports PortState, start time.Time) *egress {
	cfg = cfg.withDefaults()
	e := newEngine(Config{
		Reflector: cfg.Reflector, Local: cfg.Local, Min: cfg.MaxGap, Max: cfg.MaxGap,
		Budget: cfg.Budget, Seed: cfg.Seed,
	}, ports, start)
	g := &egress{e: e, cfg: cfg}
	g.hops = hopFinder{e: e, done: g.begin}
	e.plan.ladders = nil
	for _, regime := range results.Regimes() {
		l := &ladder{regime: regime, rounds: 1}
		for _, gap := range cfg.gaps() {
			l.rungs = append(l.rungs, &rung{ladder: l, gap: gap})
		}
		e.plan.ladders = append(e.plan.ladders, l)
	}
	e.ready, e.trialOver, e.gapFlag = g.ready, g.over, "--max-gap"
	return g
}

// ready begins once the control flow stands.
func (g *egress) ready() {
	g.e.sentinels.begin()
	g.hops.begin()
}

// begin starts trials once it is known how far packets go.
func (g *egress) begin() {
	g.near = g.cfg.Near
	if translated := g.translated(); g.near == NearAuto {
		g.near = 0
		if translated == nil || *translated {
			g.near = 1
		}
	}
	if g.hops.cant {
		g.near = 0
	}
	if g.hops.hops > 0 {
		g.near = min(g.near, g.hops.hops-1)
	}
	g.tick()
}

// translated reports whether somebody changes this machine's address or port on
// the way; nil where that can't be told.
func (g *egress) translated() *bool {
	local, c := g.cfg.Local.Unmap(), g.e.control
	if !local.IsValid() || !c.mapped.IsValid() {
		return nil
	}
	other := c.mapped != netip.AddrPortFrom(local, c.flow.port)
	return &other
}

// tick starts the next trial when there is one.
func (g *egress) tick() {
	next := idlePace
	if e := g.e; e.now >= e.plan.paused && !e.control.outage && len(e.flows) < e.flowCap {
		if r := g.pick(); r != nil {
			g.start(r)
			next = pace
		}
	}
	g.e.after(next, g.tick)
}

// ladders returns those of the present phase.
func (g *egress) ladders() []*ladder {
	if g.where != nil {
		return g.where.ladders
	}
	return g.e.plan.ladders
}

// pick returns the rung of the longest gap that needs a trial, if any: what
// takes longest begins first.
func (g *egress) pick() *rung {
	var best *rung
	for _, l := range g.ladders() {
		for _, r := range l.rungs {
			if g.open(r) && r.active+r.alive+r.expired <= r.repeats && g.e.now >= r.retryAt && (best == nil || r.gap > best.gap) && g.e.plan.roomFor(r) {
				best = r
			}
		}
	}
	return best
}

// open reports whether a rung's outcome isn't known yet. Rungs get one trial,
// and one for each repeat.
func (g *egress) open(r *rung) bool {
	return !r.exhausted() && r.alive+r.expired < 1+r.repeats
}

func (g *egress) start(r *rung) {
	r.active++
	t := &trial{e: g.e, rung: r, reach: g.near}
	if g.where != nil {
		t.reach = g.where.reach[r.ladder]
	}
	g.e.plan.inFlight = append(g.e.plan.inFlight, t)
	t.begin()
}

// over takes a trial that ended.
func (g *egress) over(t *trial) {
	g.e.plan.inFlight = slices.DeleteFunc(g.e.plan.inFlight, func(other *trial) bool { return other == t })
	r := t.rung
	r.active--
	if t.looksDead {
		r.suspected--
	}
	switch {
	case t.outcome == results.Alive:
		r.alive++
		g.clock.add(t)
	case t.outcome == results.Expired:
		r.expired++
	case t.reason == results.ReasonLoss:
		r.wasted += maxWasted / 2
	case t.wholeGap():
		r.wasted++
	case t.reason == results.ReasonReached:
		r.wasted++
	default:
		r.setups++
		r.retryAt = g.e.now + setupRetry
	}
	g.review()
}

// review ends the check, or a phase of it, when nothing more is to be learned.
func (g *egress) review() {
	if g.e.over {
		return
	}
	if g.where != nil {
		if !slices.ContainsFunc(g.where.ladders, func(l *ladder) bool { return g.open(l.rungs[0]) }) {
			g.finish()
		}
		return
	}
	limit := time.Duration(math.MaxInt64)
	worst, life := g.worst()
	if worst != nil {
		limit = secondsUp(*life.UpperS)
	}
	for _, l := range g.ladders() {
		for _, r := range l.rungs {
			if r.gap < limit && g.open(r) {
				return
			}
		}
	}
	switch {
	case worst == nil:
		g.finish()
	case life.Expired >= confirmations:
		g.locate(worst)
	case !slices.ContainsFunc(worst.ladder.rungs, func(r *rung) bool { return r.gap > worst.gap && g.open(r) }):
		worst.repeats++ // nothing longer will confirm it
		if worst.exhausted() {
			g.finish()
		}
	}
}

func (g *egress) finish() {
	g.e.complete = true
	g.e.end(nil)
}

// trials returns the trials of the first phase.
func (g *egress) trials() []results.Trial {
	var list []results.Trial
	for _, t := range g.e.finished {
		if slices.Contains(g.e.plan.ladders, t.rung.ladder) {
			r := t.result()
			if r.Outcome == results.Alive { // what is asked of is the reflector's own clock, which is judged apart
				r.BoundS = r.MeasuredGapS
			}
			list = append(list, r)
		}
	}
	return list
}

// worst returns the shortest rung that failed, with the bracket of its regime;
// nil where none did.
func (g *egress) worst() (*rung, results.Lifetime) {
	var worst *rung
	var life results.Lifetime
	trials := g.trials()
	for _, l := range g.e.plan.ladders {
		found := results.Assess(l.regime, trials).Lifetime
		if found.UpperS == nil || worst != nil && *found.UpperS >= *life.UpperS {
			continue
		}
		for _, r := range l.rungs { // ascending: the one that the bound comes from
			if r.expired > 0 && r.gap >= secondsDown(found.LowerS) {
				worst, life = r, found
				break
			}
		}
	}
	return worst, life
}

func secondsUp(s float64) time.Duration   { return time.Duration(math.Ceil(s * float64(time.Second))) }
func secondsDown(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// location finds the hop of the box that forgets: each ladder has one rung, and
// keepalives that reach one hop further than the one before.
type location struct {
	ladders []*ladder
	reach   map[*ladder]int
}

// locateTrials is how many flows decide about a hop.
const locateTrials = 2

// locate begins the second phase, with the gap and the regime of a rung that
// failed.
func (g *egress) locate(failed *rung) {
	for _, t := range slices.Clone(g.e.plan.inFlight) {
		t.abandon()
	}
	g.e.plan.inFlight = nil
	for _, l := range g.e.plan.ladders {
		for _, r := range l.rungs {
			r.active = 0
		}
	}
	if g.hops.cant || g.hops.hops == 0 {
		g.finish()
		return
	}
	g.where = &location{reach: make(map[*ladder]int)}
	for reach := g.near + 1; reach <= g.hops.hops; reach++ {
		l := &ladder{regime: failed.ladder.regime, rounds: 1}
		l.rungs = []*rung{{ladder: l, gap: failed.gap, repeats: locateTrials - 1}}
		g.where.ladders = append(g.where.ladders, l)
		g.where.reach[l] = reach
		if reach == g.hops.hops {
			g.where.reach[l] = wholeWay
		}
	}
}

// hop returns the hop of the box that forgot, counted from here; 0 where that
// isn't known. Flows that are kept alive as far as the box live, others don't.
func (w *location) hop(hops int) int {
	if w == nil {
		return 0
	}
	found := 0
	for _, l := range slices.Backward(w.ladders) {
		r := l.rungs[0]
		reach := w.reach[l]
		if reach == wholeWay {
			reach = hops
		}
		switch {
		case r.alive > 0 && r.expired == 0:
			found = reach
		case r.expired > 0 && r.alive == 0:
			return found
		default:
			return 0
		}
	}
	return found
}

// atReflector reports whether a box at a hop is at the reflector's end of the
// path: in its farther half, or just in the middle where nothing translates, as
// then no NAT of this side can be there.
func (g *egress) atReflector(hop int) bool {
	translated := g.translated()
	return 2*hop > g.hops.hops || hop > 0 && 2*hop == g.hops.hops && translated != nil && !*translated
}

// result returns what the check has shown so far.
func (g *egress) result() *results.Egress {
	e := g.e
	r := &results.Egress{
		AskedS: g.cfg.MaxGap.Seconds(), AdvertisedS: e.control.limits.EgressGap.Seconds(),
		Translated: g.translated(), Hops: g.hops.hops, KeptHops: max(g.near, 0), HopLimits: !g.hops.cant,
		ExpiredHop: g.where.hop(g.hops.hops), Clock: g.clock.result(),
	}
	proven := math.Inf(1)
	trials := g.trials()
	for _, l := range e.plan.ladders {
		life := assess(l.regime, trials)
		life.DstPort, life.Payload = int(g.cfg.Reflector.Port()), "natprobe order"
		r.Lifetimes = append(r.Lifetimes, life)
		proven = min(proven, life.LowerS)
		if life.UpperS != nil && (r.ExpiredS == nil || *life.UpperS < *r.ExpiredS) {
			r.ExpiredS = life.UpperS
		}
	}
	r.ProvenS = min(math.Floor(proven), r.AskedS)
	switch {
	case r.ProvenS >= r.AskedS:
		r.Verdict = results.EgressProven
	case g.atReflector(r.ExpiredHop):
		r.Verdict = results.EgressShort
	default:
		r.Verdict = results.EgressUndecided
	}
	return r
}
