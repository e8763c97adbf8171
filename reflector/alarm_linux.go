package reflector

import (
	"encoding/binary"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The threads that send copies run for some microseconds at a time, and should do it
// in time however busy the machine is.
const (
	// threadPriority is their nice value, where the program may have it.
	threadPriority = -15
	// threadSlice is how long one asks to run, in nanoseconds: the least that may be
	// asked for. Since Linux 6.12 a thread that asks for little needn't wait for the
	// slice of the one that is running, which takes 3 ms as a rule.
	threadSlice = 100_000
	// threadSlack is by how many nanoseconds the system may delay a wake-up to do
	// several at a time; as a rule it is 50 µs.
	threadSlack = 1
)

// threadAlarm is an alarm by a thread of its own, which waits in the kernel. The
// runtime's timers count in milliseconds while it waits for packets, and their
// thread may be one that has just answered thousands of them, which a busy
// system lets wait.
type threadAlarm struct {
	event   int
	fds     [1]unix.PollFd
	timeout unix.Timespec
}

// newAlarm returns the alarm for a transport.
func newAlarm(t transport) alarm {
	if _, ok := t.(*batchConn); !ok {
		return newTimerAlarm()
	}
	event, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil { // out of file descriptors
		return newTimerAlarm()
	}
	return &threadAlarm{event: event, fds: [1]unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}}} //nolint:gosec // a file descriptor
}

// ownThread gives the calling goroutine a thread of its own, which ends with
// it.
func (a *threadAlarm) ownThread() {
	runtime.LockOSThread()
	// Where one isn't allowed, or isn't known, it does without.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), threadPriority)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, threadSlack, 0, 0, 0)
	if attr, err := unix.SchedGetAttr(0, 0); err == nil {
		attr.Runtime = threadSlice
		_ = unix.SchedSetAttr(0, attr, 0)
	}
}

func (a *threadAlarm) wait(d time.Duration) {
	var timeout *unix.Timespec
	if d >= 0 {
		a.timeout = unix.NsecToTimespec(int64(d))
		timeout = &a.timeout
	}
	// A signal ends the wait early, which does no harm.
	if n, _ := unix.Ppoll(a.fds[:], timeout, nil); n > 0 {
		var count [8]byte
		_, _ = unix.Read(a.event, count[:]) // takes the wake-ups away
	}
}

func (a *threadAlarm) wake() {
	var count [8]byte
	binary.NativeEndian.PutUint64(count[:], 1)
	_, _ = unix.Write(a.event, count[:]) // fails only where wake-ups wait already
}

func (a *threadAlarm) close() { _ = unix.Close(a.event) }
