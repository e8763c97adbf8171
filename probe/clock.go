package probe

import (
	"sync/atomic"
	"time"
)

// clocks are what a machine has: the monotonic time, which on some stands still
// while they sleep, and how long it stood still. Both count from any moment.
type clocks struct {
	monotonic func() time.Duration
	sleep     func() time.Duration
}

// systemClocks returns this machine's.
func systemClocks() clocks {
	begun := time.Now()
	return clocks{monotonic: func() time.Duration { return time.Since(begun) }, sleep: sleepSoFar}
}

// clock tells the time since a run began, the machine's sleep included: NATs and
// reflectors go on meanwhile. The engine then finds that it is called late, and
// voids what the sleep touched. Its methods may be called from several goroutines.
type clock struct {
	begun  time.Time // wall clock, for the record
	of     clocks
	mono   time.Duration // when the run began
	before time.Duration // slept by then
	slept  atomic.Int64  // nanoseconds, since then
}

func newClock(of clocks) *clock {
	return &clock{begun: time.Now(), of: of, mono: of.monotonic(), before: of.sleep()}
}

// sleepTick is a difference of the clocks that is only how they are read.
const sleepTick = 50 * time.Millisecond

// look takes in the sleep since the last look.
func (c *clock) look() {
	slept := c.of.sleep() - c.before
	if old := time.Duration(c.slept.Load()); slept > old+sleepTick {
		c.slept.Store(int64(slept))
	}
}

// now returns the time since the run began.
func (c *clock) now() time.Duration {
	return c.of.monotonic() - c.mono + time.Duration(c.slept.Load())
}
