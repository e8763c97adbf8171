package probe

import (
	"cmp"
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

const (
	rungStep  = 750 * time.Millisecond
	rungRatio = 0.038
	// onewayCoarse widens the steps of the oneway ladder: nothing rests on its
	// precision but how long a tunnel without handshake stays reachable.
	onewayCoarse = 1.6

	// veryCoarse is where a ladder has no room for extra rungs; a later round
	// looks closer.
	veryCoarse = 2.5

	// An extra rung ends its burst this much before a timer that boxes really
	// have, and another begins its burst this much after it.
	justUnder = burstSpread + 150*time.Millisecond
	justOver  = 100 * time.Millisecond
)

// knownTimers are the timers that boxes really have: see results/reference and
// the design's list.
func knownTimers() []time.Duration {
	var list []time.Duration
	for _, s := range []int{10, 15, 20, 30, 60, 65, 90, 120, 180, 240, 300, 350} {
		list = append(list, time.Duration(s)*time.Second)
	}
	return list
}

// step returns how far above a gap the next rung is.
func step(gap time.Duration, coarse float64) time.Duration {
	return time.Duration(coarse * float64(max(rungStep, time.Duration(rungRatio*float64(gap)))))
}

// gaps returns the rungs from shortest to longest: a step apart at most, with
// extra ones around known timers unless the ladder is very coarse.
func gaps(shortest, longest time.Duration, coarse float64) []time.Duration {
	var extra []time.Duration
	if coarse < veryCoarse {
		for _, timer := range knownTimers() {
			extra = append(extra, timer-justUnder, timer+justOver)
		}
	}
	extra = append(extra, longest)
	var list []time.Duration
	for g := shortest; g < longest; {
		list = append(list, g)
		next := g + step(g, coarse)
		if i := slices.IndexFunc(extra, func(x time.Duration) bool { return x > g && x <= next }); i >= 0 {
			next = extra[i]
		}
		g = next.Round(time.Millisecond)
	}
	return append(list, longest)
}

// rung is one gap of one regime.
type rung struct {
	ladder *ladder
	gap    time.Duration
	// open is when the rung should start, so that its order leaves by
	// 0.03 × gap + 3.4 s.
	open time.Duration

	active    int // trials under way
	alive     int
	expired   int
	suspected int           // trials that look expired and await witnesses
	repeats   int           // further trials wanted to decide a dispute or to confirm
	setups    int           // trials that never got silent
	reusedAt  time.Duration // when a trial met an external port that another flow had shortly before
	wasted    int           // inconclusive trials that took their whole gap
	retryAt   time.Duration
	bonus     bool // narrows a bracket that stands, if it is in time
}

func (r *rung) exhausted() bool { return r.setups >= maxSetups || r.wasted >= maxWasted }

func (r *rung) concluded() bool { return r.alive+r.expired > 0 }

const (
	maxSetups = 25 // at 30 % loss three in four streams do not get through their setup
	maxWasted = 4
	maxRounds = 4
)

// ladder is one regime's rungs and what they showed.
type ladder struct {
	regime results.Regime
	rungs  []*rung // by ascending gap
	rounds int
	first  time.Duration   // when the first bracket stood; 0: not yet
	finer  time.Duration   // how narrow the bracket is to become after that; 0: it may stay
	stands bool            // the bracket stands
	trials []results.Trial // that are over
	assess results.Assessment

	earlier []results.Trial  // of the run that this one goes on from
	own     results.Lifetime // what this run alone shows

	repeated int      // rounds of repeats begun
	again    []repeat // the latest of them
}

func newLadder(regime results.Regime, shortest, longest, resolution time.Duration, coarse float64) *ladder {
	l := &ladder{regime: regime, rounds: 1, finer: resolution}
	for _, g := range rungGaps(regime, shortest, longest, coarse) {
		l.add(g, 0)
	}
	return l
}

// rungGaps returns a regime's rungs.
func rungGaps(regime results.Regime, shortest, longest time.Duration, coarse float64) []time.Duration {
	if regime == results.Oneway {
		coarse *= onewayCoarse
	}
	return gaps(shortest, longest, coarse)
}

// thin puts wider steps in the place of the rungs that nothing is known of yet.
func (l *ladder) thin(list []time.Duration, now time.Duration) {
	l.rungs = slices.DeleteFunc(l.rungs, func(r *rung) bool { return r.active == 0 && !r.concluded() })
	for _, g := range list {
		l.add(g, now)
	}
}

// add adds a rung, if it is not there, and returns it. Its order should leave
// within the usual time after base.
func (l *ladder) add(gap, base time.Duration) *rung {
	lead := orderBy - l.setup()
	if l.regime == results.Oneway { // its coarse steps cost time at the end
		lead -= onewayLead
	}
	r := &rung{ladder: l, gap: gap, open: base + time.Duration(orderRatio*float64(gap)) + lead}
	i, found := slices.BinarySearchFunc(l.rungs, gap, func(r *rung, g time.Duration) int { return cmp.Compare(r.gap, g) })
	if !found {
		l.rungs = slices.Insert(l.rungs, i, r)
	}
	return l.rungs[i]
}

// A rung's order leaves by orderRatio × gap + orderBy, a oneway one earlier.
const (
	orderRatio = 0.03
	orderBy    = 3400 * time.Millisecond
	onewayLead = 1200 * time.Millisecond
)

// record takes a trial that is over.
func (l *ladder) record(t *trial) {
	l.trials = append(l.trials, t.result())
	if t.outcome != results.Inconclusive {
		l.reassess()
	}
}

// reassess concludes anew from all trials.
func (l *ladder) reassess() {
	l.assess = results.Assess(l.regime, slices.Concat(l.earlier, l.trials))
	l.own = l.assess.Lifetime
	if len(l.earlier) > 0 {
		l.own = results.Bracket(l.regime, l.trials)
	}
}

// lower returns the longest proven lifetime.
func (l *ladder) lower() time.Duration { return seconds(l.assess.Lifetime.LowerS) }

// lowerGap is lower as a limit for gaps: that of the trial which proves it may be a
// little longer, as clocks differ. Rungs are further apart.
func (l *ladder) lowerGap() time.Duration { return l.lower() + l.lower()/100 }

// upper returns what the lifetime is proven to be below; 0: unknown.
func (l *ladder) upper() time.Duration { return upperOf(l.assess.Lifetime) }

func upperOf(life results.Lifetime) time.Duration {
	if life.UpperS == nil {
		return 0
	}
	return seconds(*life.UpperS)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// top returns the longest gap that lived; 0: none did.
func (l *ladder) top() time.Duration {
	for _, r := range slices.Backward(l.rungs) {
		if r.alive > 0 {
			return r.gap
		}
	}
	return 0
}

// setup returns how long a flow of this regime takes to fall silent.
func (l *ladder) setup() time.Duration {
	switch l.regime {
	case results.Stream:
		return streamAge
	case results.Oneway:
		return openGap
	default:
		return 0
	}
}
