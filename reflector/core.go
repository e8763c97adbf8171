package reflector

import (
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// core holds every rule for what proven addresses may ask, and no socket. It is told
// what arrived and when, and says what to send. It is not safe for concurrent use. Times
// are monotonic; sockets that wait for each other may tell them slightly out of order.
type core struct {
	limits Limits
	start  time.Time // its monotonic reading is the zero of all durations here

	slots    *slots
	sessions sessions
	book     *book
	pending  *counts // orders due, by address and by network
	held     *counts // orders in memory, by the groups that have a share of it
	claimed  []claim // memory for an order's claims
	lateness lateness
	stats    Stats
}

func newCore(limits Limits, start time.Time) *core {
	return &core{
		limits:   limits,
		start:    start,
		slots:    newSlots(limits.Orders),
		sessions: newSessions(),
		book:     newBook(limits.Orders),
		pending:  newCounts(limits.Orders),
		held:     newCounts(len(shares) * limits.Orders),
		stats:    Stats{Refused: make(map[wire.Code]uint64)},
	}
}

// handle takes an order or a query of an address that has shown a good token, and
// returns the answer: a QueryReply, a Refusal or nothing.
func (c *core) handle(v visit, r wire.Request) wire.Reply {
	c.expire(v.at)
	switch r := r.(type) {
	case wire.Query:
		return c.query(v, r)
	case wire.Order:
		return c.order(v, r)
	default:
		return nil // the gate answers all else
	}
}

// since returns a moment as a monotonic duration.
func (c *core) since(now time.Time) time.Duration { return now.Sub(c.start) }

// expire forgets what is old, and says whether there is more of it. It never takes
// long, and costs little where there is nothing to do.
func (c *core) expire(now time.Time) (more bool) {
	at := c.since(now)
	c.slots.expire(at)
	return c.expireOrders(at) || c.sessions.expire(at)
}

// idle says whether nothing is held that is to be forgotten.
func (c *core) idle() bool {
	return len(c.sessions.byID) == 0 && c.book.pending+c.book.done == 0 && len(c.slots.counts) == 0
}
