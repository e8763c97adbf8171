package probe

import (
	"math"
	"time"

	"github.com/natprobe/natprobe/results"
)

// clockDrift compares the reflector's clock with this machine's. Both time the same
// silences: the reflector from the order's arrival to the copy's departure, this
// side from the order's departure to the copy's arrival, a round trip more.
type clockDrift struct{ samples []clockSample }

// clockSample is one silence.
type clockSample struct {
	gap   time.Duration // by the reflector
	extra time.Duration // by how much it was longer here
}

// add takes a trial that lived.
func (c *clockDrift) add(t *trial) {
	if t.told > 0 {
		c.samples = append(c.samples, clockSample{gap: t.told, extra: t.heard - t.order.sentAt - t.told})
	}
}

// clockSamples is how many silences of different lengths it takes.
const clockSamples = 4

// result returns how much faster the reflector's clock runs; nil while there are
// too few samples. A round trip is as long after a short silence as after a long
// one, so what grows with the silence is the clocks' difference: it is the slope
// of a straight line through all samples (least squares), with twice its standard
// error.
func (c *clockDrift) result() *results.Drift {
	n := float64(len(c.samples))
	if n < clockSamples {
		return nil
	}
	var x, y, longest float64
	for _, s := range c.samples {
		x += s.gap.Seconds() / n
		y += s.extra.Seconds() / n
		longest = max(longest, s.gap.Seconds())
	}
	var xx, xy, yy float64
	for _, s := range c.samples {
		dx, dy := s.gap.Seconds()-x, s.extra.Seconds()-y
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	if xx == 0 {
		return nil
	}
	slope := xy / xx
	scatter := math.Sqrt(max(0, yy-slope*xy) / (n - 2) / xx)
	return &results.Drift{PPM: ppm(-slope / (1 + slope)), ErrorPPM: ppm(2 * scatter), GapS: longest}
}

// ppm returns a share in parts in a million, to a hundredth.
func ppm(share float64) float64 { return math.Round(share*1e8) / 100 }
