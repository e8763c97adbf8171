package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// exists tells whether there is an interface of that name.
func exists(name string) (bool, error) {
	_, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &missing):
		return false, nil
	}
	return false, fmt.Errorf("the interfaces of this system can't be listed: %w", err)
}

// addAddress gives the interface an address.
func addAddress(link netlink.Link, a netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is4() {
		addr.Broadcast = net.IPv4zero // none: the link has no neighbours
	}
	err := netlink.AddrAdd(link, addr)
	switch {
	case err == nil:
		return nil
	case a.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP)):
		return fmt.Errorf("the address %s can't be added: IPv6 is off on this system (%w); "+
			"set sysctl net.ipv6.conf.default.disable_ipv6=0, or remove the IPv6 addresses from the file", a, err)
	}
	return fmt.Errorf("the address %s can't be added: %w", a, err)
}

// addRoute leads a prefix to the interface. It never replaces another route.
func addRoute(link netlink.Link, r route) error {
	nl := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.To), Table: int(r.Table)}
	if r.To.Addr().Is4() {
		nl.Scope = unix.RT_SCOPE_LINK
	}
	err := netlink.RouteAdd(nl)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("AllowedIPs: table %d has another route to %s; `ip route show table %d` shows it, "+
			"remove it or narrow AllowedIPs", r.Table, r.To, r.Table)
	case r.To.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP)):
		return fmt.Errorf("AllowedIPs: the route to %s can't be added: IPv6 is off on this system (%w); "+
			"set sysctl net.ipv6.conf.default.disable_ipv6=0, or remove the IPv6 prefixes from the file", r.To, err)
	}
	return fmt.Errorf("AllowedIPs: the route to %s can't be added to table %d: %w", r.To, r.Table, err)
}

// netlinkRule is a rule in the kernel's words.
func (r rule) netlinkRule() *netlink.Rule {
	nl := netlink.NewRule()
	nl.Family = family(r.IPv6)
	nl.Priority = r.Priority
	nl.Table = int(r.Table)
	if r.NoDefault {
		nl.SuppressPrefixlen = 0
	} else {
		nl.Mark, nl.Invert = r.Mark, true
	}
	return nl
}

func addRule(r rule) error {
	if err := netlink.RuleAdd(r.netlinkRule()); err != nil {
		return fmt.Errorf("the routing rule with priority %d can't be added: %w", r.Priority, err)
	}
	return nil
}

// removeRule removes a rule; one that is gone is fine.
func removeRule(r rule) error {
	err := netlink.RuleDel(r.netlinkRule())
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("the routing rule with priority %d can't be removed: %w", r.Priority, err)
	}
	return nil
}

// lookAround tells which marks and tables are in use, and where rules begin.
func lookAround() (surroundings, error) {
	around := surroundings{Taken: make(map[uint32]bool)}
	for _, ipv6 := range []bool{false, true} {
		rules, err := netlink.RuleList(family(ipv6))
		if ipv6 && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)) {
			continue // a kernel without IPv6; its default route fails later, with a reason
		}
		if err != nil {
			return surroundings{}, fmt.Errorf("the routing rules can't be listed: %w", err)
		}
		around.FirstRule[index(ipv6)] = firstRule(rules)
		for i := range rules {
			around.Taken[rules[i].Mark] = true
			around.Taken[uint32(rules[i].Table)] = true //nolint:gosec // the kernel's own 32 bits
		}
		err = netlink.RouteListFilteredIter(family(ipv6), &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE,
			func(r netlink.Route) bool {
				around.Taken[uint32(r.Table)] = true //nolint:gosec // the kernel's own 32 bits
				return true
			})
		// Routes that change while they are listed make a list that may lack some;
		// a table that comes into use just now can't be seen anyway.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return surroundings{}, fmt.Errorf("the routes can't be listed: %w", err)
		}
	}
	return around, nil
}

// firstRule is the lowest priority but 0. Where there is none, as much as the
// kernel's own default leaves.
func firstRule(rules []netlink.Rule) int {
	first := 32766 // of the rule that looks up the main table
	for i := range rules {
		if p := rules[i].Priority; p > 0 && p < first {
			first = p
		}
	}
	return first
}

// pathMTU returns the MTU of the way to an address in bytes, 0 where it is not
// known.
func pathMTU(to netip.Addr, mark uint32) int {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if err != nil || len(routes) == 0 {
		return 0
	}
	if routes[0].MTU > 0 {
		return routes[0].MTU
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return 0
	}
	return link.Attrs().MTU
}

// reachable tells whether packets to an address have a way.
func reachable(to netip.Addr, mark uint32) bool {
	if to.Zone() != "" {
		return true
	}
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	return err == nil && len(routes) > 0
}

func family(ipv6 bool) int {
	if ipv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// validMark is the setting by which a strict reverse path filter takes the mark
// of a packet into account (Linux, ip-sysctl.rst).
const validMark = "/proc/sys/net/ipv4/conf/all/src_valid_mark"

// readSetting reads a setting of the kernel, without its newline.
func readSetting(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the setting %s can't be read: %w", path, err)
	}
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return string(text), nil
}

func writeSetting(path, value string) error {
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("the setting %s can't be changed: %w; in a container, set it from outside "+
			"(docker run --sysctl net.ipv4.conf.all.src_valid_mark=1)", path, err)
	}
	return nil
}
