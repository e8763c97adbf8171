package network

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
)

// currentBySocket is Current as far as any system tells: a connected UDP socket
// shows the address that packets would leave from. Nothing is sent. Neither
// the gateway nor the mark of packets is known here.
func currentBySocket(dst netip.Addr) (Snapshot, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, discardPort)))
	if err != nil {
		if meansOffline(err) {
			return Snapshot{}, fmt.Errorf("%w: no route to %s", ErrOffline, dst)
		}
		return Snapshot{}, fmt.Errorf("find the way to %s: %w", dst, err)
	}
	defer func() { _ = conn.Close() }() // nothing was written that could be lost
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return Snapshot{}, fmt.Errorf("find the way to %s: %s gives no local address", dst, runtime.GOOS)
	}
	s := Snapshot{Kind: OtherKind, Local: local.AddrPort().Addr().Unmap().WithZone(""), Weak: true}
	interfaces, err := net.Interfaces()
	if err != nil {
		return Snapshot{}, fmt.Errorf("find the interface of this machine that leads to %s: %w", dst, err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, a := range addresses {
			if p, ok := prefixOf(a); ok && p.Addr() == s.Local {
				s.Interface, s.Kind, s.Prefix = i.Name, kindOf(i.Flags, len(i.HardwareAddr) > 0), p.Masked()
				return s, nil
			}
		}
	}
	s.Prefix = netip.PrefixFrom(s.Local, s.Local.BitLen())
	return s, nil
}

// discardPort is a port to connect to where nothing is sent; RFC 863's, should
// that ever be wrong.
const discardPort = 9

// meansOffline says whether an error of a connected socket means that no route
// leads to its address.
func meansOffline(err error) bool {
	return isAny(err, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL)
}

// prefixOf reads an address of an interface, with the bits behind its prefix.
func prefixOf(a net.Addr) (netip.Prefix, bool) {
	ipNet, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	return fromIPNet(ipNet)
}

// fromIPNet converts, and keeps the bits behind the prefix.
func fromIPNet(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := n.Mask.Size()
	if bits == 0 {
		return netip.Prefix{}, false // no mask, or one with holes
	}
	addr = addr.Unmap()
	if bits == 8*net.IPv6len && addr.Is4() {
		ones -= 8 * (net.IPv6len - net.IPv4len)
	}
	p := netip.PrefixFrom(addr, ones)
	return p, p.IsValid()
}

// kindOf tells the kind of an interface as far as its flags do.
func kindOf(flags net.Flags, hardwareAddress bool) Kind {
	switch {
	case flags&net.FlagLoopback != 0:
		return Loopback
	case flags&net.FlagPointToPoint != 0:
		return PointToPoint
	case hardwareAddress:
		return Ethernet
	}
	return OtherKind
}
