package reflector

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system's figures of a socket (SO_MEMINFO, linux/sock_diag.h).
const (
	memInfoCount = 9 // figures there are
	memInfoDrops = 8 // the place of the datagrams dropped
)

// dropped returns how many datagrams the system has dropped since the socket was
// opened, as its buffer was full or a checksum wrong: as many as it said last where
// the socket is closed, and 0 before Linux 4.12. It counts to 2³² and starts again.
func (c *batchConn) dropped() uint64 {
	_ = c.raw.Control(func(fd uintptr) { // fails where it is closed
		var figures [memInfoCount]uint32
		size := uint32(unsafe.Sizeof(figures))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&figures)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // of this function, which outlives the call
		if errno == 0 {
			c.drops.Store(figures[memInfoDrops])
		}
	})
	return uint64(c.drops.Load())
}
