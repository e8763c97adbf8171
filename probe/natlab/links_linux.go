package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Names of interfaces. Each namespace has its own, so all labs use the same.
const (
	lanLink = "lan" // a box's inner side
	wanLink = "wan" // a box's outer side
)

// hostLink names an uplink's interface on the client, and on the server.
func hostLink(way int) string { return "eth" + strconv.Itoa(way) }

// addrconfMetric is the metric that the kernel gives an IPv6 address's own route
// (IP6_RT_PRIO_ADDRCONF in linux/ipv6_route.h).
const addrconfMetric = 256

// readyPoll is the interval at which a link is looked at until it is ready; the
// kernel takes about a millisecond.
const readyPoll = time.Millisecond

// prepare sets a fresh namespace up as a host or, where it forwards, as a
// router.
func prepare(family Family, forwards bool) error {
	type setting struct{ name, value string }
	var settings []setting
	if family == IPv6 {
		settings = []setting{
			{"ipv6/conf/all/disable_ipv6", "0"},
			{"ipv6/conf/default/disable_ipv6", "0"},
			// Addresses are ours to choose: no search for duplicates, which
			// would hold them back a second, and no routers that announce.
			{"ipv6/conf/default/accept_dad", "0"},
			{"ipv6/conf/default/accept_ra", "0"},
			{"ipv6/conf/default/router_solicitations", "0"},
		}
		if forwards {
			settings = append(settings, setting{"ipv6/conf/all/forwarding", "1"})
		}
	} else {
		if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
			// Keeps IPv6's own announcements off the links.
			settings = append(settings,
				setting{"ipv6/conf/all/disable_ipv6", "1"},
				setting{"ipv6/conf/default/disable_ipv6", "1"})
		}
		if forwards {
			settings = append(settings, setting{"ipv4/ip_forward", "1"})
		}
	}
	for _, s := range settings {
		if err := writeSysctl(s.name, s.value); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// join makes a link from the namespace of the calling thread outward to peer.
func join(s segment, name string, peer *namespace, peerName string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.HardwareAddr = s.innerMAC
	err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         peerName,
		PeerHardwareAddr: s.outerMAC,
		PeerNamespace:    netlink.NsFd(peer.fd),
	})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return unavailable("this kernel has no veth links (%w); try `sudo modprobe veth`", err)
	case errors.Is(err, os.ErrPermission):
		return unavailable("no permission to make veth links (%w); run as root", err)
	case err != nil:
		return fmt.Errorf("make a veth link: %w", err)
	}
	return nil
}

// raise switches one side of a link on, gives it its address, and tells it of
// the addresses that the other side has.
func raise(name string, prefix netip.Prefix, self netip.Addr, peers []netip.Addr, peerMAC net.HardwareAddr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("switch link %s on: %w", name, err)
	}
	if err := alias(name, netip.PrefixFrom(self, prefix.Bits())); err != nil {
		return err
	}
	for _, peer := range peers {
		err = netlink.NeighSet(&netlink.Neigh{
			LinkIndex:    link.Attrs().Index,
			State:        netlink.NUD_PERMANENT,
			IP:           peer.AsSlice(),
			HardwareAddr: peerMAC,
		})
		if err != nil {
			return fmt.Errorf("tell link %s of its neighbour %v: %w", name, peer, err)
		}
	}
	return nil
}

// alias gives a link an address, one more where it has some.
func alias(name string, with netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(with)}
	if with.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("give link %s the address %v: %w", name, with, err)
	}
	return nil
}

// lower switches a link off.
func lower(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return netlink.LinkSetDown(link)
}

// strip takes all addresses from a link, and so the routes that need them.
func strip(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	addrs, err := netlink.AddrList(link, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("list the addresses of link %s: %w", name, err)
	}
	for _, addr := range addrs {
		if err := netlink.AddrDel(link, &addr); err != nil {
			return fmt.Errorf("take the address %v from link %s: %w", addr.IPNet, name, err)
		}
	}
	return nil
}

// remove deletes a link, and so its other end.
func remove(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return netlink.LinkDel(link)
}

// awaitReady waits until a link passes packets and its address takes them. Both
// sides are set up by then, but the kernel connects them, and completes IPv6
// addresses, a little later; what is sent before is lost.
func awaitReady(ctx context.Context, name string, self netip.Addr) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
		if link.Attrs().OperState == netlink.OperUp && isLocal(self) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for link %s: %w", name, ctx.Err())
		}
	}
}

// isLocal reports whether packets to an address are taken in.
func isLocal(addr netip.Addr) bool {
	routes, err := netlink.RouteGet(addr.AsSlice())
	return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
}

// route sends a prefix to the next host, or everything where the prefix is
// the zero value. Packets that this host begins itself go there from source,
// unless that is the zero value.
func route(to netip.Prefix, via, source netip.Addr) error {
	r := &netlink.Route{Gw: via.AsSlice(), Src: source.AsSlice()}
	if to.IsValid() {
		r.Dst = ipNet(to)
	} else {
		r.Dst = ipNet(netip.PrefixFrom(unspecified(via), 0))
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("route %v via %v: %w", r.Dst, via, err)
	}
	return nil
}

// preferSource makes an address that this host has elsewhere the one from which
// it talks to the other hosts of a link.
func preferSource(name string, prefix netip.Prefix, source netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	r := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(prefix), Src: source.AsSlice(),
		Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_KERNEL,
	}
	if prefix.Addr().Is6() {
		// The metric of the route that is there already.
		r.Priority, r.Scope = addrconfMetric, netlink.SCOPE_UNIVERSE
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("prefer the source %v on link %s: %w", source, name, err)
	}
	return nil
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
