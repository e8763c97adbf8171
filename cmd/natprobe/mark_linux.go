package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// setMark gives the packets of a socket a firewall mark.
func setMark(c syscall.RawConn, mark uint32) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	})
	if err == nil {
		err = os.NewSyscallError("setsockopt SO_MARK", failed)
	}
	return err
}
