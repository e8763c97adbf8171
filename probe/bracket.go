package probe

import (
	"cmp"
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

const (
	// confirmations is how many trials above the longest alive must expire.
	confirmations = 2

	// Width of a first bracket that needs no further round.
	targetWidth = 2 * time.Second
	targetRatio = 0.05
)

// wants reports whether a rung needs a trial now: top is the longest gap that
// lived, above the number of expiries between it and the rung.
func (l *ladder) wants(r *rung, top time.Duration, above int) bool {
	switch {
	case r.exhausted():
		return false
	case l.stands:
		return r.bonus && r.active == 0 && !r.concluded()
	case r.repeats > 0:
		return true
	case r.active > 0 || r.concluded():
		return false
	default:
		return r.gap > top && above < confirmations
	}
}

// settled reports whether one rung expired, others confirm it, and nothing
// between it and the longest alive is open unless the bracket is narrow
// anyway; or whether nothing more can be learned. Where no longer rung is left
// to confirm an expiry with, it returns the one to repeat.
func (l *ladder) settled() (settled bool, confirm *rung) {
	top, expired, narrow := l.top(), 0, l.narrow()
	openBelow, openAbove := false, false
	var first *rung
	for _, r := range l.rungs {
		if r.gap <= top {
			continue
		}
		if r.expired > 0 && first == nil {
			first = r
		}
		open := r.active > 0 || l.wants(r, top, expired)
		openBelow = openBelow || open && first == nil
		openAbove = openAbove || open
		expired += r.expired
		if expired >= confirmations && (narrow || !openBelow) {
			return true, nil
		}
	}
	if first != nil && !openAbove && expired < confirmations && !first.exhausted() {
		return false, first
	}
	return !openAbove, nil
}

// holdsUp reports whether a longer gap than r's has expired, and none has
// lived, so that the bracket waits for r.
func (l *ladder) holdsUp(r *rung) bool {
	return r.gap > l.top() && slices.ContainsFunc(l.rungs, func(other *rung) bool {
		return other.gap > r.gap && other.expired+other.suspected > 0
	})
}

// target returns how wide a bracket may be.
func (l *ladder) target() time.Duration {
	if l.fine() {
		return l.finer
	}
	target := max(targetWidth, time.Duration(targetRatio*float64(l.lower())))
	if l.regime == results.Oneway {
		target = time.Duration(onewayCoarse * float64(target))
	}
	return target
}

// narrow reports whether the bracket has its target's width.
func (l *ladder) narrow() bool {
	return l.lower() > 0 && l.upper() > 0 && l.upper()-l.lower() <= l.target()
}

// fine reports whether the bracket is narrow enough for a first one, and is to
// become narrower.
func (l *ladder) fine() bool { return l.finer > 0 && l.first > 0 }

const (
	// fineRounds more rounds narrow a bracket further. Each divides it by
	// fineRungs.
	fineRounds = 6
	// A further round has at most one rung for so many flows, and roundLeast.
	roundShare = 8
	roundLeast = 4
	fineRungs  = 8
	// fineMargin is how much narrower than the resolution steps are, beside the
	// burst and the RTT: copies leave a little late.
	fineMargin = 30 * time.Millisecond
	// finest is the smallest step: the kernel's own timers tick in 10 ms.
	finest = 50 * time.Millisecond
)

// refine adds a round of rungs inside a bracket that is too wide, and reports
// whether it did.
func (l *ladder) refine(now, rtt time.Duration, flows int) bool {
	upper, top, most := l.upper(), l.top(), maxRounds
	if l.fine() {
		most += fineRounds
	}
	if upper == 0 || top == 0 || l.narrow() || l.rounds >= most || l.assess.Lifetime.Shape == results.Band {
		return false
	}
	before := len(l.rungs)
	least := (upper - top) / time.Duration(max(flows/roundShare, roundLeast))
	for g := top; ; {
		if g += max(l.within(g, upper, rtt), least); g >= upper-burstSpread {
			break
		}
		l.add(g.Round(time.Millisecond), now-orderBy)
	}
	if len(l.rungs) == before {
		return false
	}
	l.rounds++
	return true
}

// within returns how far above a gap the next rung of a further round is.
func (l *ladder) within(gap, upper, rtt time.Duration) time.Duration {
	switch {
	case l.fine():
		return max(finest, l.finer-burstSpread-rtt-fineMargin, (upper-l.top())/fineRungs)
	case l.regime == results.Oneway:
		return step(gap, onewayCoarse)
	default:
		return step(gap, 1)
	}
}

// bonusRungs is into how many parts bonus rungs divide a bracket that stands.
const bonusRungs = 4

// addBonus adds rungs inside a sharp bracket that stands. The run does not
// wait for them: they use the time that regimes of longer lifetimes still take.
func (l *ladder) addBonus(now time.Duration) {
	top := l.top()
	first := slices.IndexFunc(l.rungs, func(r *rung) bool { return r.gap > top && r.expired > 0 })
	if top == 0 || first < 0 || l.assess.Lifetime.Shape != results.Sharp {
		return
	}
	width := l.rungs[first].gap - top
	if width < burstSpread {
		return
	}
	for i := range time.Duration(bonusRungs - 1) {
		l.add((top + width*(i+1)/bonusRungs).Round(time.Millisecond), now-orderBy).bonus = true
	}
}

// disputed returns the rungs with an expiry below a longer gap that lived, or
// with both outcomes, that doesn't count so far, by ascending gap.
func (l *ladder) disputed() []*rung {
	var list []*rung
	for _, d := range l.assess.Disputes {
		i, found := slices.BinarySearchFunc(l.rungs, d.GapS, func(r *rung, g float64) int { return cmp.Compare(r.gap.Seconds(), g) })
		if found && !d.Counts && !slices.Contains(list, l.rungs[i]) {
			list = append(list, l.rungs[i])
		}
	}
	slices.SortFunc(list, func(a, b *rung) int { return cmp.Compare(a.gap, b.gap) })
	return list
}
