//go:build !linux

package reflector

import (
	"fmt"
	"net"
	"runtime"
)

// answering would make a wildcard socket answer from the address that was
// contacted. An answer from any other address is dropped by NATs, so a socket
// that can't do that is not offered.
func answering(*net.UDPConn) (net.PacketConn, error) {
	return nil, fmt.Errorf("a listener without an address is not supported on %s: name the address to listen on", runtime.GOOS)
}

// forbidBroadcast does nothing here: what a forged source may reach is left to the
// system.
func forbidBroadcast(*net.UDPConn) error { return nil }
