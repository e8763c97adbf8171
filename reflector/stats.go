package reflector

import (
	"maps"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// Stats is a snapshot of what a Reflector has done since it was made.
type Stats struct {
	// Datagrams that came in.
	Received  uint64 // all of them
	Dropped   uint64 // besides these: the system dropped them, as a socket's buffer was full; Linux only
	Foreign   uint64 // no STUN, empty, not a request, or from no single host
	Malformed uint64 // STUN with broken natprobe attributes
	Unknown   uint64 // natprobe messages with attributes that must be understood and aren't
	Plain     uint64 // plain STUN Binding requests
	Hellos    uint64
	Checks    uint64
	Queries   uint64
	Orders    uint64

	// What became of them.
	Accepted      uint64                    // orders
	Duplicates    uint64                    // orders that came again
	Refused       map[wire.Code]uint64      // by STUN error code
	RefusedLimit  map[wire.LimitKind]uint64 // those that met a limit
	RefusedKind   map[wire.Kind]uint64      // of natprobe messages, by their kind; KindNone: Malformed and Unknown
	PlainAnswered uint64                    // plain STUN requests answered with success
	PlainRefused  uint64                    // plain STUN requests answered with an error
	PlainSilent   uint64                    // plain STUN requests that got no answer, for want of size or above a limit
	PlainLimited  uint64                    // those of them above the rate of their network
	Silent        uint64                    // refusals that would have been larger than their request, and what a meter dropped

	// Departures.
	Copies        uint64 // of bursts
	CopiesFailed  uint64 // not sent: the socket refused, they were late, or the socket was shut
	Beacons       uint64
	BeaconsUnpaid uint64   // left out: no credit, no slot or no control flow
	Lateness      Lateness // of the copies that left
	WriteErrors   uint64   // answers and beacons that the socket refused

	// All that passed, in packets and in IP bytes, headers counted.
	PacketsOut uint64
	BytesIn    uint64
	BytesOut   uint64

	// What it holds now.
	Sockets    int // that are served
	Sessions   int
	Pending    int // orders whose burst is due
	Remembered int // orders whose burst has left, or that asked for none
}

// total adds up what came in, when all parts are there.
func (s *Stats) total() {
	s.Plain = s.PlainAnswered + s.PlainRefused + s.PlainSilent
	s.Received = s.Foreign + s.Malformed + s.Unknown + s.Plain + s.Hellos + s.Checks + s.Queries + s.Orders
}

// snapshot returns the counters with what the core holds now.
func (c *core) snapshot(now time.Time) Stats {
	c.expire(now)
	s := c.stats
	s.Refused = maps.Clone(s.Refused)
	s.RefusedLimit, s.RefusedKind = make(map[wire.LimitKind]uint64), make(map[wire.Kind]uint64)
	s.Sessions, s.Pending, s.Remembered = len(c.sessions.byID), c.book.pending, c.book.done
	s.Lateness = c.lateness.snapshot()
	return s
}
