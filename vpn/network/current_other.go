//go:build !linux

package network

import (
	"fmt"
	"net/netip"
)

// Current returns the network through which packets to dst leave. This system
// tells neither the gateway nor its hardware address here, and the mark is not
// looked at: the Snapshot is Weak, and where a tunnel has the default route it
// shows the tunnel. The error is ErrOffline where no route leads to dst.
func Current(dst netip.Addr, _ uint32) (Snapshot, error) {
	dst = dst.Unmap()
	if !dst.IsValid() || dst.IsUnspecified() {
		return Snapshot{}, fmt.Errorf("find the way to %s: not an address to send to", dst)
	}
	return currentBySocket(dst)
}
