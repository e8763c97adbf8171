package reflector

import (
	"container/list"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

const (
	// sessionIdle is how long a session without a query and without pending
	// orders is remembered: much longer than any outage that a prober sits out.
	sessionIdle = 5 * time.Minute
	// maxCredit bounds the bytes that a session can save up for beacons, and
	// with them what it could make the reflector send at a later time: 1,000
	// beacons, what a default run needs.
	maxCredit = 64 << 10
)

// session is the control flow of one measurement.
type session struct {
	id      wire.SessionID
	port    *port // where its newest query arrived, and from where
	control way
	owner   netip.Addr // whose limit it counts against
	credit  int        // IP bytes paid and not yet used
	queries window
	touched time.Duration
	pending int    // orders due
	number  uint32 // its place in sessions.table
	epoch   uint32 // how often the control flow's address has changed
	place   *list.Element
}

// earn adds IP bytes to the credit, or takes them from it.
func (s *session) earn(bytes int) { s.credit = min(s.credit+bytes, maxCredit) }

// sessions is the table of them, bounded in total and by owner.
type sessions struct {
	byID   map[wire.SessionID]*session
	table  []*session // by number; nil: free
	free   []uint32
	owners map[group]int
	idle   *list.List // of *session, the longest untouched first
}

func newSessions() sessions {
	return sessions{byID: make(map[wire.SessionID]*session), owners: make(map[group]int), idle: list.New()}
}

func (t *sessions) add(s *session) {
	t.byID[s.id] = s
	if n := len(t.free); n > 0 {
		s.number, t.free = t.free[n-1], t.free[:n-1]
		t.table[s.number] = s
	} else {
		s.number = uint32(len(t.table)) //nolint:gosec // at most Limits.Sessions
		t.table = append(t.table, s)
	}
	t.owners[address(s.owner)]++
	t.owners[network(s.owner)]++
	s.place = t.idle.PushBack(s)
}

func (t *sessions) touch(s *session, now time.Duration) {
	s.touched = now
	t.idle.MoveToBack(s.place)
}

func (t *sessions) expire(now time.Duration) {
	for {
		front := t.idle.Front()
		if front == nil {
			return
		}
		s := front.Value.(*session) // add puts nothing else there
		if now-s.touched < sessionIdle {
			return
		}
		if s.pending > 0 { // its prober may come back for the receipts
			t.touch(s, now)
			continue
		}
		t.idle.Remove(front)
		delete(t.byID, s.id)
		t.table[s.number] = nil
		t.free = append(t.free, s.number)
		release(t.owners, s.owner)
	}
}

// release takes one from the counts of an address and its network.
func release(counts map[group]int, addr netip.Addr) {
	for _, g := range []group{address(addr), network(addr)} {
		if counts[g]--; counts[g] <= 0 {
			delete(counts, g)
		}
	}
}

// query answers a session's query, and makes or moves the session.
func (c *core) query(now time.Time, a arrival, q wire.Query) []byte {
	c.stats.Queries++
	fresh := c.minter.Mint(a.peer.Addr(), now)
	if !c.minter.Verify(a.peer.Addr(), q.Token, now) {
		return c.refuse(a, wire.Refusal{ID: q.ID, Kind: wire.KindQuery, Code: wire.CodeStaleToken, Token: fresh})
	}
	needed := wire.QueryReplySize(a.peer.Addr(), len(q.Orders))
	if wire.IPBytes(a.peer.Addr(), needed) > a.size {
		return c.unpaid(a, q.ID, wire.KindQuery, needed)
	}
	s := c.sessions.byID[q.Session]
	if s == nil {
		if refusal, ok := c.admitSession(a.peer.Addr()); !ok {
			refusal.ID, refusal.Kind, refusal.Token = q.ID, wire.KindQuery, fresh
			return c.refuse(a, refusal)
		}
		s = &session{id: q.Session, owner: a.peer.Addr()}
		c.sessions.add(s)
	}
	c.sessions.touch(s, c.since(now))
	if s.queries.note(q.Seq) { // an older query that was overtaken doesn't move the flow back
		if s.control.peer.Addr() != a.peer.Addr() {
			s.epoch++
		}
		s.port, s.control = a.port, a.way
	}
	reply := wire.QueryReply{
		ID: q.ID, Mapped: a.peer, Token: fresh, Boot: c.boot, Seq: q.Seq, Received: s.queries.received,
	}
	for _, id := range q.Orders {
		reply.Receipts = append(reply.Receipts, c.book.find(s.number, id).receipt(id))
	}
	datagram := reply.Encode()
	s.earn(a.size - wire.IPBytes(a.peer.Addr(), len(datagram)))
	return datagram
}

// admitSession says whether addr may have one more session.
func (c *core) admitSession(addr netip.Addr) (wire.Refusal, bool) {
	r := wire.Refusal{Limit: wire.LimitSessions}
	switch {
	case len(c.sessions.byID) >= c.limits.Sessions:
		r.Code, r.Value = wire.CodeCapacity, limitValue(c.limits.Sessions)
	case c.sessions.owners[address(addr)] >= sessionsPerAddress:
		r.Code, r.Value = wire.CodeQuota, sessionsPerAddress
	case c.sessions.owners[network(addr)] >= sessionsPerAddress*prefixShare:
		r.Code, r.Value = wire.CodeQuota, sessionsPerAddress*prefixShare
	case c.sessions.owners[network(addr)] >= fairShare(c.limits.Sessions-len(c.sessions.byID)):
		r.Code, r.Value = wire.CodeCapacity, limitValue(fairShare(c.limits.Sessions-len(c.sessions.byID)))
	default:
		return wire.Refusal{}, true
	}
	return r, false
}

// window counts distinct sequence numbers that may come late or again: what is
// more than 63 behind the newest is not counted.
type window struct {
	newest   uint32
	seen     uint64 // bit i: newest − i has come
	received uint32
}

// note counts seq and says whether it is newer than all before.
func (w *window) note(seq uint32) (newer bool) {
	if w.received == 0 || seq > w.newest {
		if shift := seq - w.newest; w.received == 0 || shift >= 64 {
			w.seen = 0
		} else {
			w.seen <<= shift
		}
		w.seen |= 1
		w.newest = seq
		w.received++
		return true
	}
	if behind := w.newest - seq; behind < 64 && w.seen&(1<<behind) == 0 {
		w.seen |= 1 << behind
		w.received++
	}
	return false
}
