package probe

import (
	"slices"
	"time"
)

const (
	// repeatRungs is how many gaps on either side of a bracket a round of repeats
	// tries again.
	repeatRungs = 3
	// repeatSpread is within which part of its gap a repeat begins, at random: a
	// round that always took as long as the NAT's own would meet it in one mood.
	repeatSpread = 1.0 / 3
)

// repeat is a rung that is tried again until it has concluded so many times.
type repeat struct {
	rung  *rung
	until int
}

// repeating sees to the rounds of repeats that were asked for, and reports
// whether one is under way.
func (p *plan) repeating(l *ladder) bool {
	for {
		if p.awaitRepeats(l) {
			return true
		}
		if l.repeated >= p.e.cfg.Repeat {
			return false
		}
		l.repeated++
		l.rounds++
		l.again = nil
		for _, r := range l.edges() {
			l.again = append(l.again, repeat{r, r.alive + r.expired + 1})
			r.retryAt = p.e.now + time.Duration(p.e.sentinels.rng.Float64()*repeatSpread*float64(r.gap))
		}
	}
}

func (p *plan) awaitRepeats(l *ladder) (open bool) {
	for _, a := range l.again {
		if a.rung.alive+a.rung.expired >= a.until || a.rung.exhausted() {
			continue
		}
		open = true
		if a.rung.active == 0 && a.rung.repeats == 0 {
			a.rung.repeats = 1
		}
	}
	return open
}

// edges returns the rungs next to the bracket, a ladder's step apart: those that
// lived below it, those that expired above it.
func (l *ladder) edges() []*rung {
	upper := l.upper()
	var list []*rung
	last := l.lowerGap()
	for _, r := range slices.Backward(l.rungs) {
		if len(list) < repeatRungs && r.alive > 0 && r.gap <= last {
			list = append(list, r)
			last = r.gap - step(r.gap, 1)*3/4
		}
	}
	if upper == 0 {
		return list
	}
	n, next := 0, l.top()
	for _, r := range l.rungs {
		if n < repeatRungs && r.expired > 0 && r.gap > l.top() && r.gap >= next {
			n++
			list = append(list, r)
			next = r.gap + step(r.gap, 1)*3/4
		}
	}
	return list
}
