package reflector

import (
	"encoding/binary"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// threadPriority is the nice value of the threads that send copies, where the
// program may have it: they run for some microseconds at a time, and should do
// it in time however busy the machine is.
const threadPriority = -15

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
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), threadPriority) // not allowed to most; then it does without
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
