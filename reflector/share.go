package reflector

import "net/netip"

// shares is how much of a table those may hold who belong together, while it fills:
// a part of what is free for one network and for one region (the dynamic threshold of
// Choudhury and Hahne, 1998), and a part of all for one family. With the default limits
// the first ones get as much as their own limits give. Where forty networks of forty regions
// try to take all, a quarter stays for those that come later, and whatever is done
// from IPv6, where addresses are plenty, leaves a quarter to IPv4.
var shares = [...]struct {
	of   width
	most func(free, all int) int
}{
	{oneNetwork, func(free, _ int) int { return free / 30 }},
	{oneRegion, func(free, _ int) int { return free / 4 }},
	{oneFamily, func(_, all int) int { return all - all/4 }},
}

// leastShare is what a group gets of a table however full it is, as long as there is
// room at all.
const leastShare = 8

// fits says whether addr may have one thing more of a table where so many of all are
// used; or else which of its groups holds its share already, and how much that is.
func fits(addr netip.Addr, holds func(group) int, used, all int) (full width, share int, ok bool) {
	for _, s := range shares {
		share = max(s.most(all-used, all), leastShare)
		if holds(groupOf(addr, s.of)) >= share {
			return s.of, share, false
		}
	}
	return 0, 0, true
}
