//go:build !linux

package reflector

import (
	"net"
	"syscall"
)

// newTransport returns what moves packets through conn. Batches of packets need
// Linux.
func newTransport(conn net.PacketConn) transport { return newAnyConn(conn) }

// share lets further sockets have the port of one that is bound. Spreading peers
// among sockets needs Linux.
func share(syscall.RawConn) error { return errNoSharing }

// sharing is what a socket does before it binds to a shared port.
func sharing(string, string, syscall.RawConn) error { return errNoSharing }
