package reflector

import (
	"hash/maphash"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// ref names an order in a book. The zero value names none.
type ref uint32

// order is an accepted order, from its arrival until its receipt is forgotten.
// A million of them must fit, so it is small, and has no pointers for the
// garbage collector to follow.
type order struct {
	id      wire.ID
	session uint32        // its number
	at      time.Duration // when it arrived; once no copy is left, when the last one went
	addr    [16]byte      // its source, as netip.Addr.As16 says it
	port    uint16
	spread  uint16 // milliseconds, as delay
	delay   uint32
	through uint32 // the path that it came by
	epoch   uint32 // of its session's control flow, when the slots of beacons were taken
	next    ref    // in a wheel's bucket, or in the queue of those that are done
	chain   ref    // in the index
	copies  uint8
	left    uint8 // how many copies have left
	// late is how much later than due each copy left, in units of lateUnit.
	late       [wire.MaxCopies]uint16
	duplicated bool
}

const (
	lateUnit    = 16 * time.Microsecond // the resolution of a receipt
	lateNotSent = math.MaxUint16
)

// offset returns how long after the order's arrival copy i is due.
func (o *order) offset(i int) time.Duration {
	offset := time.Duration(o.delay) * time.Millisecond
	if o.copies > 1 {
		offset += time.Duration(o.spread) * time.Millisecond * time.Duration(i) / time.Duration(o.copies-1)
	}
	return offset
}

// due returns when the next copy leaves.
func (o *order) due() time.Duration { return o.at + o.offset(int(o.left)) }

// note records the gap at which a copy left, or wire.NotSent.
func (o *order) note(gap time.Duration) {
	i := int(o.left)
	o.left++
	if gap == wire.NotSent {
		o.late[i] = lateNotSent
		return
	}
	o.late[i] = uint16(min(max((gap-o.offset(i))/lateUnit, 0), lateNotSent-1))
}

// gap returns the gap at which a copy left.
func (o *order) gap(i int) time.Duration {
	if o.late[i] == lateNotSent {
		return wire.NotSent
	}
	return o.offset(i) + time.Duration(o.late[i])*lateUnit
}

// peer returns where the order came from.
func (o *order) peer() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(o.addr).Unmap(), o.port)
}

// receipt returns what became of an order; of a nil one, that it is unknown.
func (o *order) receipt(id wire.ID) wire.Receipt {
	if o == nil {
		return wire.Receipt{ID: id}
	}
	r := wire.Receipt{ID: id, State: wire.StatePending, Duplicated: o.duplicated, From: o.peer()}
	if o.left == o.copies {
		r.State = wire.StateSent
		for i := range int(o.copies) {
			r.Gaps = append(r.Gaps, o.gap(i))
		}
	}
	return r
}

// path is what orders' ways have in common: a machine has few addresses.
type path struct {
	port  *port
	local netip.Addr
	zone  string // of a link's own addresses
}

// maxPaths bounds the paths for a machine that has a whole prefix.
const maxPaths = 1 << 16

// chunkSize is how many orders are made room for at a time.
const chunkSize = 1 << 12

// book holds the orders.
type book struct {
	chunks []*[chunkSize]order
	free   ref // the first of those that were given back, by next
	used   ref // all below were in use at some time; 0 never is

	seed  maphash.Seed
	index []ref // by hash of session and id, by chain

	paths     []path
	pathUsers []int
	pathIndex map[path]uint32
	foreign   map[ref]net.Addr // the sources that aren't told by an address and port

	doneFirst, doneLast ref // whose bursts have left, the earliest first
	pending, done       int
}

func newBook(orders int) *book {
	size := 1
	for size < orders/4*3 { // some have neighbours
		size *= 2
	}
	return &book{
		seed: maphash.MakeSeed(), index: make([]ref, size), used: 1,
		pathIndex: make(map[path]uint32), foreign: make(map[ref]net.Addr),
	}
}

func (b *book) at(r ref) *order { return &b.chunks[r/chunkSize][r%chunkSize] }

type orderKey struct {
	session uint32
	id      wire.ID
}

func (b *book) slot(session uint32, id wire.ID) *ref {
	return &b.index[maphash.Comparable(b.seed, orderKey{session, id})&uint64(len(b.index)-1)] //nolint:gosec // not negative
}

// find returns a session's order, or nil.
func (b *book) find(session uint32, id wire.ID) *order {
	for r := *b.slot(session, id); r != 0; {
		o := b.at(r)
		if o.session == session && o.id == id {
			return o
		}
		r = o.chain
	}
	return nil
}

// add makes room for an order that came to p by w, and fills in what tells it
// from others. It reports false where w is one path too many.
func (b *book) add(session uint32, id wire.ID, p *port, w way) (ref, *order, bool) {
	through, ok := b.usePath(path{port: p, local: w.local, zone: w.peer.Addr().Zone()})
	if !ok {
		return 0, nil, false
	}
	r := b.free
	if r != 0 {
		b.free = b.at(r).next
	} else {
		r = b.used
		if int(r/chunkSize) == len(b.chunks) {
			b.chunks = append(b.chunks, new([chunkSize]order))
		}
		b.used++
	}
	o, slot := b.at(r), b.slot(session, id)
	*o = order{id: id, session: session, addr: w.peer.Addr().As16(), port: w.peer.Port(), through: through, chain: *slot}
	*slot = r
	switch w.addr.(type) {
	case nil, *net.UDPAddr:
	default:
		b.foreign[r] = w.addr
	}
	return r, o, true
}

// remove gives an order's room back.
func (b *book) remove(r ref) {
	o := b.at(r)
	at := b.slot(o.session, o.id)
	for *at != r {
		at = &b.at(*at).chain
	}
	*at = o.chain
	b.leavePath(o.through)
	delete(b.foreign, r)
	*o = order{next: b.free}
	b.free = r
}

// way returns the port that an order came to, and how to answer there.
func (b *book) way(r ref) (*port, way) {
	o := b.at(r)
	p := &b.paths[o.through]
	w := way{peer: o.peer(), local: p.local, addr: b.foreign[r]}
	if p.zone != "" {
		w.peer = netip.AddrPortFrom(w.peer.Addr().WithZone(p.zone), w.peer.Port())
	}
	return p.port, w
}

func (b *book) usePath(p path) (uint32, bool) {
	i, ok := b.pathIndex[p]
	if !ok {
		if i, ok = b.freePath(); !ok {
			return 0, false
		}
		b.paths[i] = p
		b.pathIndex[p] = i
	}
	b.pathUsers[i]++
	return i, true
}

// freePath finds a place for a path.
func (b *book) freePath() (uint32, bool) {
	if len(b.pathIndex) < len(b.paths) {
		for i, users := range b.pathUsers {
			if users == 0 {
				return uint32(i), true
			}
		}
	}
	if len(b.paths) == maxPaths {
		return 0, false
	}
	b.paths, b.pathUsers = append(b.paths, path{}), append(b.pathUsers, 0)
	return uint32(len(b.paths) - 1), true //nolint:gosec // below maxPaths
}

func (b *book) leavePath(i uint32) {
	if b.pathUsers[i]--; b.pathUsers[i] == 0 {
		delete(b.pathIndex, b.paths[i])
		b.paths[i] = path{}
	}
}

// finish puts an order, whose time was set to now, behind those that are done.
func (b *book) finish(r ref) {
	b.at(r).next = 0
	if b.doneLast == 0 {
		b.doneFirst = r
	} else {
		b.at(b.doneLast).next = r
	}
	b.doneLast = r
	b.done++
}

// popDone takes out the order that was finished first, if that was at least so
// long ago.
func (b *book) popDone(now, age time.Duration) ref {
	r := b.doneFirst
	if r == 0 || now-b.at(r).at < age {
		return 0
	}
	if b.doneFirst = b.at(r).next; b.doneFirst == 0 {
		b.doneLast = 0
	}
	b.done--
	return r
}
