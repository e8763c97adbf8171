package results

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAttribute(t *testing.T) {
	type life struct {
		lower float64
		upper float64 // 0: none
	}
	for _, test := range []struct {
		name     string
		egress   float64
		lives    []life
		causes   []Cause
		attested bool
	}{
		{"nothing is proven", 0, []life{{29, 31}}, []Cause{CausePath}, false},
		{"nothing is proven, nothing expired", 0, []life{{360, 0}}, []Cause{CauseNone}, false},
		{"within", 360, []life{{29, 31}, {119, 121}}, []Cause{CauseNetwork, CauseNetwork}, true},
		{"up to the gap", 31, []life{{29, 31}}, []Cause{CauseNetwork}, true},
		{"the bracket reaches beyond", 30, []life{{29, 31}}, []Cause{CausePath}, false},
		{"one of two", 60, []life{{29, 31}, {119, 121}}, []Cause{CauseNetwork, CausePath}, false},
		{"lived beyond", 60, []life{{29, 31}, {360, 0}}, []Cause{CauseNetwork, CauseNone}, true},
	} {
		r := Record{Reflector: Reflector{EgressGapS: test.egress}}
		for _, l := range test.lives {
			life := Lifetime{LowerS: l.lower}
			r.Trials = append(r.Trials, Trial{Outcome: Alive, BoundS: l.lower})
			if l.upper > 0 {
				life.UpperS = &l.upper
				r.Trials = append(r.Trials, Trial{Outcome: Expired, BoundS: l.upper})
			}
			r.Lifetimes = append(r.Lifetimes, life)
		}
		r.Trials = append(r.Trials, Trial{Outcome: Inconclusive, Reason: ReasonOutage})
		for range 2 {
			r.Attribute()
			var causes []Cause
			for _, l := range r.Lifetimes {
				causes = append(causes, l.Cause)
			}
			if diff := cmp.Diff(test.causes, causes); diff != "" || r.Reflector.Attested != test.attested {
				t.Errorf("%s: attested %v, want %v; causes (-want +got):\n%s", test.name, r.Reflector.Attested, test.attested, diff)
			}
			for _, trial := range r.Trials {
				want := ReasonNone
				switch {
				case trial.Outcome == Inconclusive:
					want = ReasonOutage
				case trial.Outcome == Expired && trial.BoundS > test.egress:
					want = ReasonPath
				}
				if trial.Reason != want {
					t.Errorf("%s: %s at %v s has the reason %q, want %q", test.name, trial.Outcome, trial.BoundS, trial.Reason, want)
				}
			}
		}
	}
}
