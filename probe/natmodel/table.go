package natmodel

import (
	"maps"
	"net/netip"
	"time"
)

// pruneFloor is the table size below which dead mappings aren't worth removing.
const pruneFloor = 64

// tuple is a key of the table: an endpoint on one side of the box and as much of
// the remote one as counts.
type tuple struct {
	local, remote netip.AddrPort
}

// mapping is an entry of the table: a mapping, a firewall's flow, or the state
// that a stray packet left.
type mapping struct {
	internal, external netip.AddrPort
	inKey, outKey      tuple
	stray              bool
	seq                uint64 // order of creation

	born, deadline time.Duration
	started        bool // the first packet has passed
	replied        bool

	// Most mappings talk to one remote, so the first permission needs no map.
	permitted netip.AddrPort
	more      map[netip.AddrPort]struct{}
}

// permit lets a remote, reduced to what filtering looks at, answer.
func (m *mapping) permit(remote netip.AddrPort) {
	if m.permitted == remote {
		return
	}
	if m.more == nil {
		m.more = make(map[netip.AddrPort]struct{})
	}
	m.more[remote] = struct{}{}
}

// permits says whether a remote, reduced likewise, may answer.
func (m *mapping) permits(remote netip.AddrPort) bool {
	if m.permitted == remote {
		return true
	}
	_, ok := m.more[remote]
	return ok
}

// table holds mappings by their inside and outside keys. It may hold dead ones,
// which the NAT ignores and prunes from time to time.
type table struct {
	inside, outside, strays map[tuple]*mapping
	seq                     uint64
	pruneAt                 int
}

func newTable() table {
	return table{
		inside:  make(map[tuple]*mapping),
		outside: make(map[tuple]*mapping),
		strays:  make(map[tuple]*mapping),
		pruneAt: pruneFloor,
	}
}

func (t *table) size() int { return len(t.inside) + len(t.strays) }

func (t *table) add(m *mapping) {
	t.seq++
	m.seq = t.seq
	if m.stray {
		t.strays[m.outKey] = m
		return
	}
	t.inside[m.inKey] = m
	t.outside[m.outKey] = m
}

func (t *table) remove(m *mapping) {
	if m.stray {
		delete(t.strays, m.outKey)
		return
	}
	delete(t.inside, m.inKey)
	delete(t.outside, m.outKey)
}

// prune removes what is dead.
func (n *NAT) prune(now time.Duration) {
	for _, side := range []map[tuple]*mapping{n.table.inside, n.table.strays} {
		for m := range maps.Values(side) {
			if !n.live(m, now) {
				n.table.remove(m)
			}
		}
	}
	// Doubling keeps the cost of pruning constant for each mapping made.
	n.table.pruneAt = max(pruneFloor, 2*n.table.size())
}

// makeRoom says whether one more entry fits, after it did for that what the
// config allows.
func (n *NAT) makeRoom(now time.Duration) bool {
	full := func() bool { return n.cfg.MaxMappings > 0 && n.table.size() >= n.cfg.MaxMappings }
	if full() || n.table.size() >= n.table.pruneAt {
		n.prune(now)
	}
	if !full() {
		return true
	}
	if n.cfg.Full != EvictUnreplied {
		return false
	}
	var oldest *mapping
	for _, side := range []map[tuple]*mapping{n.table.inside, n.table.strays} {
		for m := range maps.Values(side) {
			if !m.replied && (oldest == nil || m.seq < oldest.seq) {
				oldest = m
			}
		}
	}
	if oldest == nil {
		return false
	}
	n.table.remove(oldest)
	return true
}
