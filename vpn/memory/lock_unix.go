//go:build unix && !solaris && !aix

package memory

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockWait is how long to wait for another process. It needs the lock for
	// milliseconds, unless it is stopped or its disk is slow.
	lockWait = 2 * time.Second
	lockStep = 10 * time.Millisecond
)

// lock takes a file's lock. It is free again when unlock is called, or the
// process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	step := time.NewTicker(lockStep)
	defer step.Stop()
	for range lockWait / lockStep {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // nothing was written to it
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		<-step.C
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another process has held %s for %v", path, lockWait)
	}
	return nil, &os.PathError{Op: "flock", Path: path, Err: err}
}
