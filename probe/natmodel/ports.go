package natmodel

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// allocate chooses the external endpoint of a new mapping. It says false where
// no port is free.
func (n *NAT) allocate(now time.Duration, internal, remote netip.AddrPort) (netip.AddrPort, bool) {
	pool := n.cfg.External
	first := 0
	if len(pool) > 1 {
		first = n.rng.IntN(len(pool))
	}
	if n.cfg.Pooling == Paired {
		addr, ok := n.pairs[internal.Addr()]
		if !ok {
			addr = pool[first]
			n.pairs[internal.Addr()] = addr
		}
		return n.allocatePort(now, addr, internal.Port(), remote)
	}
	for i := range pool {
		external, ok := n.allocatePort(now, pool[(first+i)%len(pool)], internal.Port(), remote)
		if ok {
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// allocatePort chooses a port of one external address.
func (n *NAT) allocatePort(now time.Duration, addr netip.Addr, wanted uint16, remote netip.AddrPort) (netip.AddrPort, bool) {
	start := n.next
	switch n.cfg.Ports {
	case Preserve:
		same := netip.AddrPortFrom(addr, wanted)
		if off := int(wanted) - int(n.low); off >= 0 && off < n.span && n.claim(now, same, remote) {
			return same, true
		}
		start = n.rng.IntN(n.span)
	case Random:
		start = n.rng.IntN(n.span)
	case Sequential:
	}
	for i := range n.span {
		off := (start + i) % n.span
		external := netip.AddrPortFrom(addr, n.low+uint16(off)) //nolint:gosec // below span, so at most MaxPort
		if n.claim(now, external, remote) {
			n.next = (off + 1) % n.span
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// claim says whether an external endpoint is free for flows to remote, and
// clears away a dead mapping that still sits on it.
func (n *NAT) claim(now time.Duration, external, remote netip.AddrPort) bool {
	if s := n.table.strays[tuple{external, remote}]; s != nil && n.live(s, now) {
		return false
	}
	m := n.table.outside[tuple{external, n.lookupBy.of(remote)}]
	if m == nil {
		return true
	}
	if n.live(m, now) {
		return false
	}
	n.table.remove(m)
	return true
}

// checkChange reports why a NAT can't take over a new pool.
func checkChange(cfg Config, pool []netip.Addr) error {
	if cfg.NoTranslation {
		return errors.New("natmodel: a firewall without translation has no external address to change")
	}
	if err := checkPool(pool); err != nil {
		return err
	}
	if pool[0].Is4() != cfg.External[0].Is4() {
		return fmt.Errorf("natmodel: External[0] is %v, want the IP version of %v", pool[0], cfg.External[0])
	}
	return nil
}
