package tunnel

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/natprobe/natprobe/vpn"
)

const (
	// firstMark is where the search for a mark, and a table of the same number,
	// begins. It is wg-quick's, so that people know it when they see it.
	firstMark = 51820
	// lastMark ends the search: nobody has so many tunnels.
	lastMark = firstMark + 1000

	// Numbers of tables that have another meaning (linux/rtnetlink.h).
	tableDefault, tableMain, tableLocal = 253, 254, 255
)

// surroundings is what a plan depends on besides the file.
type surroundings struct {
	// Taken are numbers that are the mark of a rule, a table with routes in it
	// or looked up by a rule, or the mark of another tunnel of ours.
	Taken map[uint32]bool
	// FirstRule is the lowest priority of any rule but the first, which looks up
	// the table local, for IPv4 and for IPv6.
	FirstRule [2]int
}

// plan is what is to be made besides the interface itself.
type plan struct {
	// Mark is what the device puts on its packets; 0: nothing.
	Mark      uint32
	Addresses []netip.Prefix
	Routes    []route
	Rules     []rule
	// Guarded has the tunnel's addresses of each family that has a default
	// route: others must not reach them from outside the tunnel.
	Guarded []guard
}

// route leads to the interface.
type route struct {
	To    netip.Prefix
	Table uint32
}

// rule is a routing policy rule. Either it sends packets without Mark to Table,
// or it looks up the main table and takes no default route there.
type rule struct {
	IPv6     bool   `json:"ipv6,omitempty"`
	Priority int    `json:"priority"`
	Mark     uint32 `json:"mark,omitempty"`
	Table    uint32 `json:"table"`
	// NoDefault: routes with a prefix of length 0 don't count.
	NoDefault bool `json:"no_default,omitempty"`
}

// guard is what an nftables table of one family protects.
type guard struct {
	IPv6      bool
	Addresses []netip.Addr
}

// makePlan says what a file asks for.
func makePlan(c *vpn.Config, around surroundings) (plan, error) {
	p := plan{Mark: c.Interface.FwMark, Addresses: unique(c.Interface.Addresses)}
	allowed := allowedIPs(c)
	if err := checkMTU(c, p.Addresses, allowed); err != nil {
		return plan{}, err
	}
	table := c.Interface.Table
	if table.Off {
		return p, nil
	}
	if table.Number != 0 {
		for _, to := range allowed {
			p.Routes = append(p.Routes, route{To: to, Table: table.Number})
		}
		return p, nil
	}
	var defaults []netip.Prefix
	for _, to := range allowed {
		switch {
		case to.Bits() == 0:
			defaults = append(defaults, to)
		case !connected(p.Addresses, to):
			p.Routes = append(p.Routes, route{To: to, Table: tableMain})
		}
	}
	if len(defaults) == 0 {
		return p, nil
	}
	if err := p.takeMark(c, around); err != nil {
		return plan{}, err
	}
	for _, to := range defaults {
		if err := p.takeDefault(to, around); err != nil {
			return plan{}, err
		}
	}
	return p, nil
}

// checkMTU refuses one at which the kernel takes IPv6 off an interface, where
// IPv6 is asked for.
func checkMTU(c *vpn.Config, addresses, allowed []netip.Prefix) error {
	mtu := c.Interface.MTU
	if mtu == 0 || mtu >= minMTU {
		return nil
	}
	if !slices.ContainsFunc(slices.Concat(addresses, allowed), func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		return nil
	}
	return &vpn.FileError{
		Place:  vpn.Place{File: c.File, Key: "MTU"},
		Reason: fmt.Sprintf("%d is less than the %d that IPv6 needs; raise it, or remove what is IPv6 from the file", mtu, minMTU),
	}
}

// takeMark chooses what default routes need to tell the tunnel's own packets.
func (p *plan) takeMark(c *vpn.Config, around surroundings) error {
	switch p.Mark {
	case 0:
	case tableDefault, tableMain, tableLocal:
		return &vpn.FileError{
			Place: vpn.Place{File: c.File, Key: "FwMark"},
			Reason: fmt.Sprintf("%d is also the number of a routing table that the system uses, and a default route needs "+
				"a table of its own; choose another mark, or leave the choice to natprobe", p.Mark),
		}
	default:
		return nil
	}
	for mark := uint32(firstMark); mark <= lastMark; mark++ {
		if !around.Taken[mark] {
			p.Mark = mark
			return nil
		}
	}
	return fmt.Errorf("no routing table is free for a default route: all from %d to %d are in use; give %s a FwMark",
		firstMark, lastMark, c.File)
}

// takeDefault adds a default route with its rules. They come before all rules
// but the first, as they would if a person added them with ip rule; with
// priorities of our own choice we remove ours and not another tunnel's. The one
// that spares local networks is made first, and removed last.
func (p *plan) takeDefault(to netip.Prefix, around surroundings) error {
	ipv6 := to.Addr().Is6()
	first := around.FirstRule[index(ipv6)]
	if first < 3 {
		return fmt.Errorf("no room for two routing rules before the one with priority %d; "+
			"`ip rule` shows it, give it a higher number", first)
	}
	p.Routes = append(p.Routes, route{To: to, Table: p.Mark})
	p.Rules = append(p.Rules,
		rule{IPv6: ipv6, Priority: first - 2, Table: tableMain, NoDefault: true},
		rule{IPv6: ipv6, Priority: first - 1, Mark: p.Mark, Table: p.Mark})
	g := guard{IPv6: ipv6}
	for _, a := range p.Addresses {
		if a.Addr().Is6() == ipv6 {
			g.Addresses = append(g.Addresses, a.Addr())
		}
	}
	p.Guarded = append(p.Guarded, g)
	return nil
}

// index is IPv4's or IPv6's place in an array of two.
func index(ipv6 bool) int {
	if ipv6 {
		return 1
	}
	return 0
}

// allowedIPs are those of all peers, each once, longest prefixes first.
func allowedIPs(c *vpn.Config) []netip.Prefix {
	var all []netip.Prefix
	for i := range c.Peers {
		all = append(all, c.Peers[i].AllowedIPs...)
	}
	all = unique(all)
	slices.SortStableFunc(all, func(a, b netip.Prefix) int { return cmp.Compare(b.Bits(), a.Bits()) })
	return all
}

func unique(prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range prefixes {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// connected tells whether the kernel routes a prefix to the interface already,
// because it is in the network of one of its addresses.
func connected(addresses []netip.Prefix, to netip.Prefix) bool {
	return slices.ContainsFunc(addresses, func(a netip.Prefix) bool {
		return a.Bits() <= to.Bits() && a.Masked().Contains(to.Addr())
	})
}

// insideItself tells whether packets for a peer would be led into the tunnel
// that they come out of. A default route with a mark is safe, and what somebody
// does with a table of their own is their business.
func (p *plan) insideItself(endpoint netip.Addr) bool {
	return p.Mark == 0 && slices.ContainsFunc(p.Routes, func(r route) bool {
		return r.Table == tableMain && r.To.Contains(endpoint)
	})
}
