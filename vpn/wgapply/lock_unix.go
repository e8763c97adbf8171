//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wgapply

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock that f is, or returns fs.ErrExist where somebody else
// has it.
func tryLock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return fs.ErrExist
	}
	return err
}
