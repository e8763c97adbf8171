package probe

import (
	"math"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

const (
	// burstOdds is how likely a whole burst may be lost on a path whose loss
	// is at its upper bound.
	burstOdds = 1e-5
	minCopies = 3
	maxCopies = wire.MaxCopies
	// lossMargin is by how much the loss bound may still grow until a burst is
	// judged.
	lossMargin = 1.2

	// rttWindow is how far around a moment round-trip times are looked at.
	rttWindow = 3 * time.Second
	// rttWindowMin is how many samples such a window needs; with fewer the
	// largest RTT of the run stands in.
	rttWindowMin = 3
)

// path is what the control flow tells of the path: loss in each direction and
// round-trip times.
type path struct {
	outSent, outLost int
	inSent, inLost   int

	rtts     []rttSample // by when the request was sent, but for overtaking
	min, max time.Duration
}

type rttSample struct{ at, rtt time.Duration }

func (p *path) sawRTT(at, rtt time.Duration) {
	p.rtts = append(p.rtts, rttSample{at, rtt})
	if p.min == 0 || rtt < p.min {
		p.min = rtt
	}
	p.max = max(p.max, rtt)
}

// maxRTT returns the largest RTT seen around the time at.
func (p *path) maxRTT(at time.Duration) time.Duration {
	largest, n := time.Duration(0), 0
	for i := len(p.rtts) - 1; i >= 0; i-- {
		s := p.rtts[i]
		if s.at > at+rttWindow {
			continue
		}
		if s.at < at-rttWindow {
			break
		}
		largest = max(largest, s.rtt)
		n++
	}
	if n < rttWindowMin {
		return p.max
	}
	return largest
}

// jitter returns by how much round trips varied around the time at.
func (p *path) jitter(at time.Duration) time.Duration { return p.maxRTT(at) - p.min }

func (p *path) outbound() results.Loss { return results.NewLoss(p.outLost, p.outSent) }
func (p *path) inbound() results.Loss  { return results.NewLoss(p.inLost, p.inSent) }

// copies returns how many copies a burst needs. The loss that judges a burst
// is measured until its end, and may turn out somewhat higher than now.
func (p *path) copies() int {
	upper := p.inbound().Upper95 * lossMargin
	if upper >= 1 {
		return maxCopies
	}
	return int(min(max(math.Ceil(math.Log(burstOdds)/math.Log(upper)), minCopies), maxCopies))
}

// burstTold reports whether a lost burst of n copies is too unlikely to
// explain silence.
func (p *path) burstTold(n int) bool {
	return math.Pow(p.inbound().Upper95, float64(n)) <= burstOdds
}
