package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// resolveWait is how long a gateway has to say its hardware address. The
	// kernel repeats its question after a second, and that should count.
	resolveWait = 1250 * time.Millisecond
	// resolveStep is how often the answer is looked for.
	resolveStep = 25 * time.Millisecond
	// resolved are the states in which an entry's hardware address was true the
	// last time that anybody looked.
	resolved = unix.NUD_PERMANENT | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_NOARP
)

// hardwareAddress returns the hardware address of a gateway, nil where it is not
// known within resolveWait.
func hardwareAddress(index int, gateway netip.Addr) (net.HardwareAddr, error) {
	mac, err := neighbour(index, gateway)
	if err != nil || mac != nil {
		return mac, err
	}
	// As if a packet were to be sent, but none is. Without the permission,
	// other traffic may still ask.
	_ = netlink.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: familyOf(gateway), IP: net.IP(gateway.AsSlice()), Flags: netlink.NTF_USE,
	})
	step := time.NewTicker(resolveStep)
	defer step.Stop()
	for range resolveWait / resolveStep {
		<-step.C
		mac, err := neighbour(index, gateway)
		if err != nil || mac != nil {
			return mac, err
		}
	}
	return nil, nil
}

// neighbour looks in the kernel's table; nil where it has no address.
func neighbour(index int, gateway netip.Addr) (net.HardwareAddr, error) {
	entries, err := netlink.NeighList(index, familyOf(gateway))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("read the neighbours of interface %d: %w", index, err)
	}
	for _, e := range entries {
		ip, ok := netip.AddrFromSlice(e.IP)
		if ok && ip.Unmap() == gateway.WithZone("") && e.State&resolved != 0 && len(e.HardwareAddr) > 0 {
			return e.HardwareAddr, nil
		}
	}
	return nil, nil
}

// familyOf returns netlink's number of an address family.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
