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
	// sessionQuiet is how long a session must have been silent to make room for
	// another: a prober asks at least each second, but for outages.
	sessionQuiet = 30 * time.Second
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
	owners map[group]int // how many each group has
	idle   *list.List    // of *session, the longest untouched first
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
	for w := oneAddress; w <= oneFamily; w++ {
		t.owners[groupOf(s.owner, w)]++
	}
	s.place = t.idle.PushBack(s)
}

func (t *sessions) touch(s *session, now time.Duration) {
	s.touched = now
	t.idle.MoveToBack(s.place)
}

// expire forgets sessions that were idle for long.
func (t *sessions) expire(now time.Duration) (more bool) {
	for range expireBatch {
		if !t.expireOne(now, sessionIdle) {
			return false
		}
	}
	return true
}

// expireOne forgets the session that was idle the longest, if that is so long, and
// says whether it was. One with pending orders stays: its prober may come back for
// the receipts.
func (t *sessions) expireOne(now, age time.Duration) bool {
	front := t.idle.Front()
	if front == nil {
		return false
	}
	s := front.Value.(*session) // add puts nothing else there
	switch {
	case now-s.touched < age:
		return false
	case s.pending > 0:
		t.touch(s, now)
	default:
		t.remove(s)
	}
	return true
}

// makeRoom forgets the session that was idle the longest of those that helps to
// forget, unless it was heard of lately, and says whether it did.
func (t *sessions) makeRoom(now time.Duration, helps func(*session) bool) bool {
	next := t.idle.Front()
	for range expireBatch {
		if next == nil {
			return false
		}
		s := next.Value.(*session) // as in expireOne
		next = next.Next()
		switch {
		case now-s.touched < sessionQuiet:
			return false
		case s.pending > 0:
			t.touch(s, now)
		case helps(s):
			t.remove(s)
			return true
		}
	}
	return false
}

func (t *sessions) remove(s *session) {
	t.idle.Remove(s.place)
	delete(t.byID, s.id)
	t.table[s.number] = nil
	t.free = append(t.free, s.number)
	for w := oneAddress; w <= oneFamily; w++ {
		g := groupOf(s.owner, w)
		if t.owners[g]--; t.owners[g] <= 0 {
			delete(t.owners, g)
		}
	}
}

// query answers a session's query, and makes or moves the session.
func (c *core) query(v visit, q wire.Query) wire.Reply {
	needed := wire.QueryReplySize(v.peer.Addr(), len(q.Orders))
	if wire.IPBytes(v.peer.Addr(), needed) > v.size {
		return unpaid(needed)
	}
	s := c.sessions.byID[q.Session]
	if s == nil {
		if refusal, ok := c.admitSession(c.since(v.at), v.peer.Addr()); !ok {
			return refusal
		}
		s = &session{id: q.Session, owner: v.peer.Addr()}
		c.sessions.add(s)
	}
	c.sessions.touch(s, c.since(v.at))
	if s.queries.note(q.Seq) { // an older query that was overtaken doesn't move the flow back
		if s.control.peer.Addr() != v.peer.Addr() {
			s.epoch++
		}
		s.port, s.control = v.port, v.way
	}
	reply := wire.QueryReply{ID: q.ID, Mapped: v.peer, Seq: q.Seq, Received: s.queries.received}
	for _, id := range q.Orders {
		reply.Receipts = append(reply.Receipts, c.book.find(s.number, id).receipt(id))
	}
	s.earn(v.size - wire.IPBytes(v.peer.Addr(), needed))
	return reply
}

// admitSession says whether addr may have one more session.
func (c *core) admitSession(now time.Duration, addr netip.Addr) (wire.Refusal, bool) {
	no := func(code wire.Code, value int) (wire.Refusal, bool) {
		return wire.Refusal{Code: code, Limit: wire.LimitSessions, Value: limitValue(value)}, false
	}
	t, holds := &c.sessions, func(g group) int { return c.sessions.owners[g] }
	switch {
	case holds(address(addr)) >= sessionsPerAddress:
		return no(wire.CodeQuota, sessionsPerAddress)
	case holds(network(addr)) >= sessionsPerAddress*prefixShare:
		return no(wire.CodeQuota, sessionsPerAddress*prefixShare)
	}
	full, share, ok := fits(addr, holds, len(t.byID), c.limits.Sessions)
	crowded := !ok && full == oneFamily
	helps := func(s *session) bool { return !crowded || groupOf(s.owner, oneFamily) == groupOf(addr, oneFamily) }
	if (crowded || len(t.byID) >= c.limits.Sessions) && t.makeRoom(now, helps) {
		_, share, ok = fits(addr, holds, len(t.byID), c.limits.Sessions)
	}
	switch {
	case !ok:
		return no(wire.CodeCapacity, share)
	case len(t.byID) >= c.limits.Sessions:
		return no(wire.CodeCapacity, c.limits.Sessions)
	}
	return wire.Refusal{}, true
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
