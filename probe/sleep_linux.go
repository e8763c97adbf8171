package probe

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepSoFar returns how long the machine has slept since it was started: the
// boot clock goes on then, the monotonic clock doesn't (clock_gettime(2)).
func sleepSoFar() time.Duration {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
