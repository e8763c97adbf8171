//go:build unix && !solaris && !aix

package memory

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock takes a file's lock, and waits for who has it: nobody keeps it for long.
// It is free again when unlock is called, or the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR { //nolint:errorlint // a bare errno
			break
		}
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, os.NewSyscallError("flock", err)
	}
	return func() { _ = f.Close() }, nil
}
