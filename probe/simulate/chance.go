package simulate

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"
)

// What a packet's number is drawn for: draws for different ends are independent.
const (
	forLoss uint64 = iota + 1
	forJitter
	forDuplicate
	forCopy
)

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection that
// scatters its input over all 64 bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// flow is a pair of endpoints, in the direction of a packet.
type flow struct {
	src, dst netip.AddrPort
}

// hash is the same in each run, unlike the runtime's.
func (f flow) hash() uint64 {
	var h uint64
	for _, e := range [...]netip.AddrPort{f.src, f.dst} {
		a := e.Addr().As16()
		h = mix(h ^ binary.BigEndian.Uint64(a[:8]))
		h = mix(h ^ binary.BigEndian.Uint64(a[8:]))
		h = mix(h ^ uint64(e.Port()))
	}
	return h
}

// fraction draws from [0, 1) for a packet and an end.
func fraction(id, end uint64) float64 {
	return float64(mix(id^mix(end))>>11) / (1 << 53)
}

// loss decides what is lost in one direction.
type loss struct {
	rate  float64
	burst time.Duration

	// Of bursty loss: the spell that the path is in, and when it ends.
	rng   *rand.Rand
	begun bool
	bad   bool
	until time.Duration
}

func newLoss(rate float64, burst time.Duration, seed uint64) loss {
	return loss{
		rate:  rate,
		burst: burst,
		rng:   rand.New(rand.NewPCG(seed, 0x6c6f7373)), //nolint:gosec // repeatable chance is wanted
	}
}

// set changes the rate. A spell that is under way ends.
func (l *loss) set(rate float64) {
	l.rate = rate
	l.begun = false
}

// takes says whether the packet with this number is lost at a time that never
// runs backwards.
func (l *loss) takes(now time.Duration, id uint64) bool {
	if l.rate <= 0 || l.rate >= 1 {
		return l.rate >= 1
	}
	if l.burst == 0 {
		return fraction(id, forLoss) < l.rate
	}
	if !l.begun {
		l.begun = true
		l.bad = l.rng.Float64() < l.rate // as it is in the long run
		l.until = now + l.spell()
	}
	for now >= l.until {
		l.bad = !l.bad
		l.until += l.spell()
	}
	return l.bad
}

// spell draws how long the present state lasts. Good ones are longer than bad
// ones in the proportion that gives the rate.
func (l *loss) spell() time.Duration {
	mean := float64(l.burst)
	if !l.bad {
		mean *= (1 - l.rate) / l.rate
	}
	return time.Duration(mean*l.rng.ExpFloat64()) + 1
}
