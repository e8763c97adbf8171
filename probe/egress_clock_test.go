package probe

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestClockDrift gives the clock silences that a reflector timed with a clock of
// known drift.
func TestClockDrift(t *testing.T) {
	for _, ppm := range []float64{0, 40, -250, 3000} {
		for _, jitter := range []time.Duration{0, 2 * time.Millisecond, 20 * time.Millisecond} {
			outside := 0
			const runs = 200
			for seed := range uint64(runs) {
				rng := rand.New(rand.NewPCG(seed, 1))
				var c clockDrift
				for gap := time.Second; gap <= 6*time.Minute; gap += max(time.Second, gap/8) {
					for range 4 {
						theirs := time.Duration(float64(gap) * (1 + ppm/1e6))
						rtt := 30*time.Millisecond + time.Duration(rng.Float64()*float64(jitter))
						c.samples = append(c.samples, clockSample{gap: theirs, extra: gap + rtt - theirs})
					}
				}
				got := c.result()
				if math.Abs(got.PPM-ppm) > got.ErrorPPM+0.01 {
					outside++
				}
				if jitter == 20*time.Millisecond && got.ErrorPPM > 20 {
					t.Errorf("drift %v ppm, jitter %v: ±%v ppm", ppm, jitter, got.ErrorPPM)
				}
			}
			if outside > runs/10 { // of 5 % expected
				t.Errorf("drift %v ppm, jitter %v: %d of %d answers are wrong", ppm, jitter, outside, runs)
			}
		}
	}
	if got := (&clockDrift{samples: make([]clockSample, 9)}).result(); got != nil {
		t.Errorf("silences of one length make a drift of %+v", got)
	}
}
