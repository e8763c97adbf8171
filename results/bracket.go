package results

import (
	"math"
	"slices"
	"time"
)

// ConfirmingExpiries is how many trials must expire, of one gap or at times
// apart, before an expiry below a longer gap that lived is believed.
const ConfirmingExpiries = 3

// Bracket concludes from the trials of one regime, in any order, between
// which bounds the lifetime of a mapping lies. Trials of other regimes are
// skipped. It leaves DstPort, Payload and Hop to the caller.
//
// Each alive trial proves that the lifetime is at least its BoundS, each
// expired trial that it is below its BoundS. Let A be the largest bound of
// the alive trials.
//
//   - An expired trial whose bound is at most A contradicts the trial that
//     lived, and is disputed: loss may have taken its whole burst.
//   - A disputed trial is confirmed where at least [ConfirmingExpiries]
//     trials of its regime expired at its GapS. All disputed trials of a regime
//     are confirmed where so many of them have silences that don't overlap:
//     no spell of loss explains expiries at several times. Let c be the
//     smallest GapS of a confirmed one. Then the lifetime is a band, and all
//     expired trials with a GapS of c or more count. Disputed trials below c
//     do not.
//   - Without a confirmed one the lifetime is sharp and no disputed trial
//     counts. Undisputed expired trials always count.
//
// LowerS is the largest alive bound below the smallest bound that counts: up
// to there, each conclusive trial lived. It is 0 where there is none. UpperS is
// the smallest counting bound above A: from there on, each trial expired. It
// is nil where there is none, and the bracket is then censored on the right.
// Otherwise it is censored on the left where LowerS is 0. Without any
// evidence the bracket is [0, nil), censored on the right.
//
// Disputed trials that do not count appear under Inconclusive, so that
// Trials = Alive + Expired + Inconclusive, and so that marking them
// inconclusive changes nothing. So do trials with a bound that is no positive
// finite number, which prove nothing.
func Bracket(regime Regime, trials []Trial) Lifetime {
	return Assess(regime, trials).Lifetime
}

// Assessment is a bracket with the disputes that were decided on the way.
type Assessment struct {
	Lifetime Lifetime
	Disputes []Dispute // in the order of the trials
}

// Dispute is an expired trial whose bound is at most that of a trial that
// lived.
type Dispute struct {
	Trial   int     // index into the trials that were assessed
	GapS    float64 // the trial's intended gap, seconds
	Expired int     // how many trials of this regime and gap expired, this one included
	Alive   int     // how many trials of this regime and gap lived
	// Confirmed is true where Expired is at least ConfirmingExpiries, or as many
	// disputed trials of the regime have silences that don't overlap.
	Confirmed bool
	// Counts is true where the bracket rests on the trial: it is confirmed, or
	// a shorter gap is.
	Counts bool
}

// Assess is Bracket, and also tells which trials are disputed.
func Assess(regime Regime, trials []Trial) Assessment {
	life := Lifetime{Regime: regime, Shape: Sharp}
	longestAlive := math.Inf(-1)
	for _, t := range trials {
		if t.Regime != regime {
			continue
		}
		life.Trials++
		if t.proves(Alive) {
			life.Alive++
			longestAlive = max(longestAlive, t.BoundS)
		}
	}

	disputes, confirmedGap := disputesOf(regime, trials, longestAlive)
	if !math.IsInf(confirmedGap, 1) {
		life.Shape = Band
	}

	lowestExpired, upper := math.Inf(1), math.Inf(1)
	for _, t := range trials {
		if t.Regime != regime || !t.proves(Expired) {
			continue
		}
		undisputed := t.BoundS > longestAlive
		if !undisputed && t.GapS < confirmedGap {
			continue
		}
		life.Expired++
		lowestExpired = min(lowestExpired, t.BoundS)
		if undisputed {
			upper = min(upper, t.BoundS)
		}
	}
	life.Inconclusive = life.Trials - life.Alive - life.Expired

	for _, t := range trials {
		if t.Regime == regime && t.proves(Alive) && t.BoundS < lowestExpired {
			life.LowerS = max(life.LowerS, t.BoundS)
		}
	}
	switch {
	case math.IsInf(upper, 1):
		life.Censored = CensoredRight
	case life.LowerS == 0:
		life.UpperS, life.Censored = &upper, CensoredLeft
	default:
		life.UpperS, life.Censored = &upper, CensoredNone
	}
	return Assessment{Lifetime: life, Disputes: disputes}
}

// Disputed returns the indices of the trials, of all regimes, that expired
// below a longer gap that lived, and on which no bracket rests. Repeats of
// their gaps decide what they are worth.
func Disputed(trials []Trial) []int {
	var indices []int
	for _, regime := range Regimes() {
		for _, d := range Assess(regime, trials).Disputes {
			if !d.Counts {
				indices = append(indices, d.Trial)
			}
		}
	}
	slices.Sort(indices)
	return indices
}

// disputesOf lists the disputed trials of a regime and the smallest confirmed
// gap among them, +Inf where there is none.
func disputesOf(regime Regime, trials []Trial, longestAlive float64) ([]Dispute, float64) {
	type count struct{ alive, expired int }
	counts := make(map[float64]count)
	for _, t := range trials {
		if t.Regime != regime {
			continue
		}
		c := counts[t.GapS]
		switch {
		case t.proves(Alive):
			c.alive++
		case t.proves(Expired):
			c.expired++
		}
		counts[t.GapS] = c
	}

	var disputes []Dispute
	var expired []Trial
	for i, t := range trials {
		if t.Regime != regime || !t.proves(Expired) || t.BoundS > longestAlive {
			continue
		}
		c := counts[t.GapS]
		disputes = append(disputes, Dispute{Trial: i, GapS: t.GapS, Expired: c.expired, Alive: c.alive})
		expired = append(expired, t)
	}
	confirmedGap := math.Inf(1)
	manyTimes := timesApart(expired) >= ConfirmingExpiries
	for i, d := range disputes {
		if disputes[i].Confirmed = manyTimes || d.Expired >= ConfirmingExpiries; disputes[i].Confirmed {
			confirmedGap = min(confirmedGap, d.GapS)
		}
	}
	for i := range disputes {
		disputes[i].Counts = disputes[i].GapS >= confirmedGap
	}
	return disputes, confirmedGap
}

// timesApart returns how many of the trials, at most, have silences of which no
// two overlap. What began at an unknown time overlaps with everything.
func timesApart(trials []Trial) int {
	type silence struct{ from, to time.Time }
	var all []silence
	for _, t := range trials {
		if !t.StartedAt.IsZero() {
			all = append(all, silence{t.StartedAt, t.StartedAt.Add(time.Duration(t.BoundS * float64(time.Second)))})
		}
	}
	// To take the one that ends first, again and again, leaves room for most.
	slices.SortFunc(all, func(a, b silence) int { return a.to.Compare(b.to) })
	n := 0
	var end time.Time
	for _, s := range all {
		if n == 0 || s.from.After(end) {
			n, end = n+1, s.to
		}
	}
	return n
}

// proves says whether the trial is evidence of the given outcome.
func (t Trial) proves(o Outcome) bool {
	return t.Outcome == o && t.BoundS > 0 && !math.IsInf(t.BoundS, 1)
}
