package probe

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

// resume takes over what an earlier run on this path has shown. Nobody can be
// sure that it is the same path, so that this run tries the ends of each earlier
// bracket itself, at once.
func (p *plan) resume(record *results.Record) {
	for _, l := range p.ladders {
		for _, t := range record.Trials {
			gap := gapOf(t)
			if t.Regime != l.regime || t.Outcome == results.Inconclusive || !(t.BoundS > 0) || math.IsInf(t.BoundS, 1) ||
				gap < p.e.cfg.Min || gap > p.e.cfg.Max {
				continue
			}
			l.earlier = append(l.earlier, t)
			l.add(gap, 0).count(t.Outcome)
		}
		l.reassess()
		for _, r := range l.unvouched() {
			r.repeats = 1
		}
	}
}

func (r *rung) count(outcome results.Outcome) {
	switch outcome {
	case results.Alive:
		r.alive++
	case results.Expired:
		r.expired++
	case results.Inconclusive:
	}
}

// unvouched returns the rungs at the ends of a bracket that only the earlier
// run has seen.
func (l *ladder) unvouched() []*rung {
	if len(l.earlier) == 0 {
		return nil
	}
	var low, high *rung
	for _, r := range l.rungs {
		if r.alive > 0 && r.gap <= l.lowerGap() {
			low = r
		}
		if high == nil && r.expired > 0 && r.gap > l.top() {
			high = r
		}
	}
	var list []*rung
	if low != nil && !l.saw(results.Alive, func(gap time.Duration) bool { return gap >= low.gap }) {
		list = append(list, low)
	}
	if high != nil && !l.saw(results.Expired, func(gap time.Duration) bool { return gap <= high.gap }) {
		list = append(list, high)
	}
	return list
}

// saw reports whether this run itself has such an outcome at such a gap.
func (l *ladder) saw(outcome results.Outcome, at func(gap time.Duration) bool) bool {
	return slices.ContainsFunc(l.trials, func(t results.Trial) bool { return t.Outcome == outcome && at(gapOf(t)) })
}

func gapOf(t results.Trial) time.Duration { return seconds(t.GapS).Round(time.Millisecond) }

// vouched reports whether this run has seen both ends of a bracket itself, and
// has them tried where it hasn't.
func (p *plan) vouched(l *ladder) bool {
	missing := l.unvouched()
	for _, r := range missing {
		switch {
		case r.exhausted():
			p.forgetEarlier(fmt.Sprintf("%s: a gap of %.1f s can't be tried again", l.regime, r.gap.Seconds()))
			return false
		case r.active == 0 && r.repeats == 0:
			r.repeats = 1
		}
	}
	return len(missing) == 0
}

// contradicts returns an earlier trial that is hardly true of the same path as
// t: one that lived where t expired, or the other way about. At the very end of a
// lifetime both can be true; then it costs time, and nothing else, to go on alone.
func (l *ladder) contradicts(t *trial) (results.Trial, bool) {
	for _, e := range l.earlier {
		if gap := gapOf(e); t.outcome == results.Alive && e.Outcome == results.Expired && t.rung.gap >= gap ||
			t.outcome == results.Expired && e.Outcome == results.Alive && t.rung.gap <= gap {
			return e, true
		}
	}
	return results.Trial{}, false
}

// distrustEarlier forgets the earlier run, which a trial contradicts.
func (p *plan) distrustEarlier(l *ladder, t *trial, e results.Trial) {
	p.forgetEarlier(fmt.Sprintf("%s: %s at %.1f s now, and %s at %.1f s then", l.regime, t.outcome, t.rung.gap.Seconds(), e.Outcome, e.GapS))
}

// forgetEarlier goes on with what this run has shown itself.
func (p *plan) forgetEarlier(why string) {
	p.e.event(results.ReasonEarlier, "the earlier record is of another path, or this one has changed ("+why+"): going on without it", 0)
	for _, l := range p.ladders {
		l.earlier = nil
		for _, r := range l.rungs {
			r.alive, r.expired, r.repeats = 0, 0, 0
		}
		l.stands, l.first = false, 0
		l.repeated, l.again = 0, nil
	}
	for _, t := range p.e.finished {
		t.rung.count(t.outcome)
	}
	for _, l := range p.ladders {
		l.reassess()
	}
}
