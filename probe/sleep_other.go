//go:build !linux

package probe

import "time"

// sleepClock does nothing here: Go's monotonic clock goes on during sleep on
// most other systems, so that the engine notices that it was called late.
type sleepClock struct{}

func newSleepClock() *sleepClock { return &sleepClock{} }

func (*sleepClock) slept() time.Duration { return 0 }
