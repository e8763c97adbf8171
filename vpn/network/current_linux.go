package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Current returns the network through which packets to dst leave that carry the
// firewall mark, 0 for none. With a tunnel's own mark it looks past the default
// route of that tunnel. It looks in the network namespace of the calling thread.
//
// The gateway's hardware address may have to be asked for. That takes up to
// 1.25 s, after which the Snapshot is Weak; to have the kernel ask takes
// CAP_NET_ADMIN, and without it other traffic must happen to do so.
//
// The error is ErrOffline where no route leads to dst or the interface of the
// route has no carrier.
func Current(dst netip.Addr, mark uint32) (Snapshot, error) {
	dst = dst.Unmap()
	if !dst.IsValid() || dst.IsUnspecified() {
		return Snapshot{}, fmt.Errorf("find the way to %s: not an address to send to", dst)
	}
	route, err := routeTo(dst, mark)
	if isAny(err, unix.EPERM, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP) {
		return currentBySocket(dst) // netlink is not to be had
	}
	if err != nil {
		return Snapshot{}, err
	}
	link, err := netlink.LinkByIndex(route.LinkIndex)
	if isA[netlink.LinkNotFoundError](err) || isAny(err, unix.ENODEV) {
		return Snapshot{}, fmt.Errorf("%w: the interface that leads to %s is gone", ErrOffline, dst)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("read the interface that leads to %s: %w", dst, err)
	}
	attrs := link.Attrs()
	if attrs.RawFlags&unix.IFF_UP == 0 || attrs.RawFlags&unix.IFF_RUNNING == 0 {
		return Snapshot{}, fmt.Errorf("%w: %s, which leads to %s, is down or has no carrier", ErrOffline, attrs.Name, dst)
	}

	s := Snapshot{Interface: attrs.Name, Gateway: gatewayOf(route)}
	if src, ok := netip.AddrFromSlice(route.Src); ok && !src.Unmap().IsUnspecified() {
		s.Local = src.Unmap()
	}
	if s.Prefix, err = prefixOn(link, s.Local, dst); err != nil {
		return Snapshot{}, err
	}
	wireless, ssid := wirelessName(attrs.Name)
	s.SSID = ssid
	s.Kind = kindOf(attrs.Flags, attrs.EncapType == "ether")
	if wireless && s.Kind == Ethernet {
		s.Kind = Wireless
	}
	if s.Gateway.IsValid() && (s.Kind == Ethernet || s.Kind == Wireless) && attrs.RawFlags&unix.IFF_NOARP == 0 {
		if s.GatewayMAC, err = hardwareAddress(attrs.Index, s.Gateway); err != nil {
			return Snapshot{}, err
		}
	}
	s.Weak = len(s.mac()) == 0
	return s, nil
}

// routeTo asks the kernel for the route of packets to dst with a mark.
func routeTo(dst netip.Addr, mark uint32) (netlink.Route, error) {
	options := netlink.RouteGetOptions{Mark: mark}
	if zone := dst.Zone(); zone != "" {
		if index, err := strconv.Atoi(zone); err == nil {
			options.OifIndex = index
		} else {
			options.Oif = zone
		}
	}
	routes, err := netlink.RouteGetWithOptions(net.IP(dst.AsSlice()), &options)
	switch {
	// A blackhole route answers EINVAL, one that prohibits EACCES.
	case isAny(err, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ENODEV, unix.EINVAL, unix.EACCES),
		isA[netlink.LinkNotFoundError](err), err == nil && len(routes) == 0:
		return netlink.Route{}, fmt.Errorf("%w: no route to %s", ErrOffline, dst)
	case err != nil:
		return netlink.Route{}, fmt.Errorf("ask the kernel for the route to %s: %w", dst, err)
	}
	switch routes[0].Type {
	case unix.RTN_UNREACHABLE, unix.RTN_BLACKHOLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		return netlink.Route{}, fmt.Errorf("%w: the route to %s leads nowhere", ErrOffline, dst)
	}
	return routes[0], nil
}

// gatewayOf returns a route's next hop, which for IPv4 may be an IPv6 address
// (RFC 5549), without its zone.
func gatewayOf(route netlink.Route) netip.Addr {
	if gateway, ok := netip.AddrFromSlice(route.Gw); ok {
		return gateway.Unmap()
	}
	if via, ok := route.Via.(*netlink.Via); ok && via != nil {
		if gateway, ok := netip.AddrFromSlice(via.Addr); ok {
			return gateway.Unmap()
		}
	}
	return netip.Addr{}
}

// prefixOn returns the network that local is in on the link. Where the address
// has no more than itself, as DHCPv6 gives it out, the prefix is that of the
// widest route of the link that needs no gateway to reach it.
func prefixOn(link netlink.Link, local, dst netip.Addr) (netip.Prefix, error) {
	family := netlink.FAMILY_V4
	if dst.Is6() {
		family = netlink.FAMILY_V6
	}
	addresses, err := netlink.AddrList(link, family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return netip.Prefix{}, fmt.Errorf("read the addresses of %s: %w", link.Attrs().Name, err)
	}
	var found netip.Prefix
	for _, a := range addresses {
		if p, ok := fromIPNet(a.IPNet); ok && (p.Addr() == local || !local.IsValid()) {
			found = p
			break
		}
	}
	switch {
	case !found.IsValid() && !local.IsValid():
		return netip.Prefix{}, nil
	case !found.IsValid():
		// The address is another interface's, or went away meanwhile.
		found = netip.PrefixFrom(local, local.BitLen())
	}
	if !found.IsSingleIP() || link.Attrs().Flags&net.FlagPointToPoint != 0 {
		return found.Masked(), nil
	}
	routes, err := netlink.RouteList(link, family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return netip.Prefix{}, fmt.Errorf("read the routes of %s: %w", link.Attrs().Name, err)
	}
	onLink := found
	for _, r := range routes {
		p, ok := fromIPNet(r.Dst)
		if ok && p.Bits() > 0 && !gatewayOf(r).IsValid() && p.Contains(found.Addr()) && p.Bits() < onLink.Bits() {
			onLink = p
		}
	}
	return onLink.Masked(), nil
}
