package probe

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepClock tells how long the machine slept: the boot clock goes on then,
// the monotonic clock doesn't (clock_gettime(2)).
type sleepClock struct{ behind time.Duration }

func newSleepClock() *sleepClock {
	c := &sleepClock{}
	c.slept()
	return c
}

// slept returns the sleep since the last call.
func (c *sleepClock) slept() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return 0
	}
	behind := time.Duration(boot.Nano() - mono.Nano())
	slept := behind - c.behind
	c.behind = behind
	return slept
}
