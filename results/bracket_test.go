package results

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// trial is an exchange trial whose bound is its gap.
func trial(gap float64, o Outcome) Trial {
	return Trial{Regime: Exchange, GapS: gap, MeasuredGapS: gap, BoundS: gap, Outcome: o}
}

func TestBracket(t *testing.T) {
	up := func(s float64) *float64 { return &s }
	for _, tt := range []struct {
		name         string
		alive        []float64
		expired      []float64
		inconclusive []float64
		want         Lifetime
	}{
		{name: "no trials", want: Lifetime{Censored: CensoredRight}},
		{name: "only inconclusive", inconclusive: []float64{1, 2},
			want: Lifetime{Censored: CensoredRight, Trials: 2, Inconclusive: 2}},
		{name: "sharp", alive: []float64{10, 20, 29}, expired: []float64{31, 40},
			want: Lifetime{LowerS: 29, UpperS: up(31), Censored: CensoredNone, Trials: 5, Alive: 3, Expired: 2}},
		{name: "all alive", alive: []float64{10, 360},
			want: Lifetime{LowerS: 360, Censored: CensoredRight, Trials: 2, Alive: 2}},
		{name: "all expired", expired: []float64{2, 1},
			want: Lifetime{UpperS: up(1), Censored: CensoredLeft, Trials: 2, Expired: 2}},
		{name: "one dispute is ignored", alive: []float64{20, 29}, expired: []float64{25, 31},
			want: Lifetime{LowerS: 29, UpperS: up(31), Censored: CensoredNone, Trials: 4, Alive: 2, Expired: 1, Inconclusive: 1}},
		{name: "two expiries of a gap do not confirm", alive: []float64{20, 29}, expired: []float64{25, 25, 31},
			want: Lifetime{LowerS: 29, UpperS: up(31), Censored: CensoredNone, Trials: 5, Alive: 2, Expired: 1, Inconclusive: 2}},
		{name: "equal bounds are disputed", alive: []float64{25}, expired: []float64{25},
			want: Lifetime{LowerS: 25, Censored: CensoredRight, Trials: 2, Alive: 1, Inconclusive: 1}},
		{name: "three confirm a band", alive: []float64{20, 24, 29}, expired: []float64{25, 25, 25, 31},
			want: Lifetime{LowerS: 24, UpperS: up(31), Shape: Band, Censored: CensoredNone, Trials: 7, Alive: 3, Expired: 4}},
		{name: "a band counts all above its lowest gap", alive: []float64{20, 24, 29}, expired: []float64{22, 25, 25, 25, 27, 31},
			want: Lifetime{LowerS: 24, UpperS: up(31), Shape: Band, Censored: CensoredNone, Trials: 9, Alive: 3, Expired: 5, Inconclusive: 1}},
		{name: "the lowest confirmed gap decides", alive: []float64{20, 24, 29}, expired: []float64{27, 27, 27, 22, 22, 22},
			want: Lifetime{LowerS: 20, Shape: Band, Censored: CensoredRight, Trials: 9, Alive: 3, Expired: 6}},
		{name: "a band without an upper end", alive: []float64{20, 60}, expired: []float64{50, 50, 50},
			want: Lifetime{LowerS: 20, Shape: Band, Censored: CensoredRight, Trials: 5, Alive: 2, Expired: 3}},
		{name: "a band without a lower end", alive: []float64{60}, expired: []float64{50, 50, 50, 70},
			want: Lifetime{UpperS: up(70), Shape: Band, Censored: CensoredLeft, Trials: 5, Alive: 1, Expired: 4}},
		{name: "a gap that lived and expired in a band", alive: []float64{20, 25, 29}, expired: []float64{25, 25, 25, 31},
			want: Lifetime{LowerS: 20, UpperS: up(31), Shape: Band, Censored: CensoredNone, Trials: 7, Alive: 3, Expired: 4}},
		{name: "bounds that prove nothing", alive: []float64{0, 10}, expired: []float64{0},
			want: Lifetime{LowerS: 10, Censored: CensoredRight, Trials: 3, Alive: 1, Inconclusive: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var trials []Trial
			for o, gaps := range map[Outcome][]float64{Alive: tt.alive, Expired: tt.expired, Inconclusive: tt.inconclusive} {
				for _, g := range gaps {
					trials = append(trials, trial(g, o))
				}
			}
			trials = append(trials, Trial{Regime: Stream, GapS: 5, BoundS: 5, Outcome: Expired})
			tt.want.Regime = Exchange
			if tt.want.Shape == "" {
				tt.want.Shape = Sharp
			}
			got := Bracket(Exchange, trials)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Bracket (-want +got):\n%s", diff)
			}
			if sum := got.Alive + got.Expired + got.Inconclusive; sum != got.Trials {
				t.Errorf("alive + expired + inconclusive = %d, trials = %d", sum, got.Trials)
			}
		})
	}
}

// TestBandOfSeveralTimes: expiries of several gaps confirm each other where their
// silences don't overlap.
func TestBandOfSeveralTimes(t *testing.T) {
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		starts [3]float64 // seconds, of expiries of 22, 24 and 26 s
		shape  Shape
		lower  float64
	}{
		{"at once", [3]float64{0, 1, 2}, Sharp, 29},
		{"two of them at once", [3]float64{0, 10, 40}, Sharp, 29},
		{"end to begin", [3]float64{0, 22, 46}, Sharp, 29},
		{"apart", [3]float64{0, 23, 48}, Band, 20},
		{"apart in another order", [3]float64{60, 0, 30}, Band, 20},
	} {
		trials := []Trial{trial(20, Alive), trial(29, Alive), trial(31, Expired)}
		for i, gap := range []float64{22, 24, 26} {
			expiry := trial(gap, Expired)
			expiry.StartedAt = day.Add(time.Duration(tt.starts[i] * float64(time.Second)))
			trials = append(trials, expiry)
		}
		got := Bracket(Exchange, trials)
		if got.Shape != tt.shape || got.LowerS != tt.lower || got.UpperS == nil || *got.UpperS != 31 {
			t.Errorf("%s: %+v, want a %s from %v", tt.name, got, tt.shape, tt.lower)
		}
	}
}

func TestAssessDisputes(t *testing.T) {
	trials := []Trial{
		trial(29, Alive), trial(27, Expired), trial(25, Expired), trial(22, Expired),
		trial(25, Expired), trial(25, Alive), trial(31, Expired), trial(25, Expired),
	}
	want := []Dispute{
		{Trial: 1, GapS: 27, Expired: 1, Counts: true},
		{Trial: 2, GapS: 25, Expired: 3, Alive: 1, Confirmed: true, Counts: true},
		{Trial: 3, GapS: 22, Expired: 1},
		{Trial: 4, GapS: 25, Expired: 3, Alive: 1, Confirmed: true, Counts: true},
		{Trial: 7, GapS: 25, Expired: 3, Alive: 1, Confirmed: true, Counts: true},
	}
	if diff := cmp.Diff(want, Assess(Exchange, trials).Disputes); diff != "" {
		t.Errorf("Disputes (-want +got):\n%s", diff)
	}
}

func TestDisputed(t *testing.T) {
	of := func(r Regime, tr Trial) Trial { tr.Regime = r; return tr }
	trials := []Trial{
		of(Stream, trial(100, Expired)), trial(25, Expired), trial(29, Alive),
		of(Stream, trial(110, Alive)), trial(40, Expired), of(Oneway, trial(25, Expired)),
	}
	if diff := cmp.Diff([]int{0, 1}, Disputed(trials)); diff != "" {
		t.Errorf("Disputed (-want +got):\n%s", diff)
	}
}

// sharpTrials draws trials that a timer of exactly life seconds could give,
// with bounds as blurred as a round trip makes them.
func sharpTrials(rng *rand.Rand, life float64, n int) []Trial {
	trials := make([]Trial, n)
	for i := range trials {
		gap := rng.Float64() * 2 * life
		blur := rng.Float64() * 0.3
		switch {
		case rng.IntN(6) == 0:
			trials[i] = Trial{Regime: Stream, GapS: gap, Outcome: Inconclusive, Reason: ReasonOrderLost}
		case gap <= life: // the NAT saw gap to gap+blur; the reflector timed gap
			trials[i] = Trial{Regime: Stream, GapS: gap, BoundS: gap, Outcome: Alive}
		default:
			trials[i] = Trial{Regime: Stream, GapS: gap, BoundS: gap + blur, Outcome: Expired}
		}
	}
	return trials
}

func TestBracketOfSharpTimer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		life := 1 + rng.Float64()*359
		trials := sharpTrials(rng, life, rng.IntN(40))
		prev := Bracket(Stream, nil)
		for i := range len(trials) + 1 {
			got := Bracket(Stream, trials[:i])
			if got.Shape != Sharp {
				t.Fatalf("life %v: shape %v of %+v", life, got.Shape, trials[:i])
			}
			if got.LowerS > life || (got.UpperS != nil && *got.UpperS <= life) {
				t.Fatalf("life %v is outside of %+v", life, got)
			}
			if got.LowerS < prev.LowerS || (prev.UpperS != nil && (got.UpperS == nil || *got.UpperS > *prev.UpperS)) {
				t.Fatalf("trial %+v widened %+v to %+v", trials[i-1], prev, got)
			}
			prev = got
		}
	}
}

// anyTrials draws trials on few gaps with outcomes at random, so that disputes
// and bands are common.
func anyTrials(rng *rand.Rand) []Trial {
	trials := make([]Trial, rng.IntN(25))
	for i := range trials {
		gap := float64(1 + rng.IntN(6))
		o := []Outcome{Alive, Expired, Inconclusive}[rng.IntN(3)]
		trials[i] = Trial{Regime: Oneway, GapS: gap, BoundS: gap + rng.Float64()*0.5, Outcome: o}
	}
	return trials
}

func TestBracketOfAnyTrials(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		trials := anyTrials(rng)
		got := Assess(Oneway, trials)
		life := got.Lifetime
		if life.UpperS != nil && *life.UpperS <= life.LowerS {
			t.Fatalf("empty bracket %+v of %+v", life, trials)
		}
		if (life.UpperS == nil) != (life.Censored == CensoredRight) {
			t.Fatalf("censored %q with upper %v", life.Censored, life.UpperS)
		}

		shuffled := append([]Trial(nil), trials...)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(life, Bracket(Oneway, shuffled)); diff != "" {
			t.Fatalf("another order, another bracket (-want +got):\n%s", diff)
		}

		marked := append([]Trial(nil), trials...)
		for _, i := range Disputed(trials) {
			marked[i].Outcome, marked[i].Reason = Inconclusive, ReasonDisputed
		}
		if diff := cmp.Diff(life, Bracket(Oneway, marked)); diff != "" {
			t.Fatalf("marking ignored trials changed the bracket (-want +got):\n%s", diff)
		}

		if life.Shape == Sharp {
			continue
		}
		// In a band, all that counts below the lower end lived.
		for i, tr := range trials {
			if tr.Outcome == Expired && tr.BoundS <= life.LowerS {
				for _, d := range got.Disputes {
					if d.Trial == i && d.Counts {
						t.Fatalf("%+v counts below %+v", tr, life)
					}
				}
			}
		}
	}
}
