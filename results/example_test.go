package results_test

import (
	"fmt"

	"github.com/natprobe/natprobe/results"
)

func ExampleBracket() {
	trial := func(gap float64, o results.Outcome) results.Trial {
		return results.Trial{Regime: results.Stream, GapS: gap, BoundS: gap, Outcome: o}
	}
	life := results.Bracket(results.Stream, []results.Trial{
		trial(60, results.Alive),
		trial(90, results.Expired), // lost: a longer gap lived, and no repeat expired
		trial(118, results.Alive),
		trial(122, results.Expired),
	})
	fmt.Printf("%v to %v s, %s, %d trials in doubt\n", life.LowerS, *life.UpperS, life.Shape, life.Inconclusive)
	// Output: 118 to 122 s, sharp, 1 trials in doubt
}
