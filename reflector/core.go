package reflector

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// core holds every rule for natprobe messages and no socket. It is told what arrived
// and when, and says what to send. It is not safe for concurrent use. Times are
// monotonic; sockets that wait for each other may tell them slightly out of order.
type core struct {
	limits    Limits
	advertise wire.Limits
	minter    *wire.Minter
	boot      wire.BootID
	logger    *slog.Logger
	start     time.Time // its monotonic reading is the zero of all durations here

	natprobe *meter // packets of natprobe messages, by address
	slots    *slots
	sessions sessions
	book     *book
	pending  *counts // orders due, by address and by network
	claimed  []claim // memory for an order's claims
	lateness lateness
	stats    Stats
}

func newCore(cfg Config, minter *wire.Minter, now time.Time) *core {
	limits := cfg.Limits.withDefaults()
	return &core{
		limits:    limits,
		advertise: limits.advertised(cfg.EgressGap),
		minter:    minter,
		boot:      wire.NewBootID(),
		logger:    cfg.Logger,
		start:     now,
		natprobe:  newMeter(limits.PPS),
		slots:     newSlots(limits.Orders),
		sessions:  newSessions(),
		book:      newBook(limits.Orders),
		pending:   newCounts(limits.Orders),
		stats: Stats{
			Refused: make(map[wire.Code]uint64), RefusedLimit: make(map[wire.LimitKind]uint64), RefusedKind: make(map[wire.Kind]uint64),
		},
	}
}

// arrival is a natprobe message that a port received.
type arrival struct {
	way
	port *port
	size int // IP bytes
}

// handle takes a natprobe message and returns the one to send back at once, or
// nil.
func (c *core) handle(now time.Time, p *port, from way, payload []byte) []byte {
	c.expire(now)
	a := arrival{way: from, port: p, size: wire.IPBytes(from.peer.Addr(), len(payload))}
	r, err := wire.ParseRequest(payload)
	switch {
	case errors.Is(err, wire.ErrMalformed):
		c.stats.Malformed++
	case err != nil:
		c.stats.Foreign++
		return nil
	}
	id, kind := identify(r)
	if !c.natprobe.allow(address(from.peer.Addr()), c.since(now)) {
		return c.refuse(a, wire.Refusal{
			ID: id, Kind: kind, Code: wire.CodeQuota, Limit: wire.LimitRate, Value: limitValue(c.limits.PPS),
		})
	}
	switch r := r.(type) {
	case wire.Hello:
		return c.hello(now, a, r)
	case wire.Check:
		return c.check(a, r)
	case wire.Query:
		return c.query(now, a, r)
	case wire.Order:
		return c.order(now, a, r)
	case wire.Binding:
		if err == nil { // a comprehension-required attribute that is unknown
			return c.unknown(a, r)
		}
	}
	return c.refuse(a, wire.Refusal{ID: id, Code: wire.CodeBadRequest}) // what could only be given a name
}

// since returns a moment as a monotonic duration.
func (c *core) since(now time.Time) time.Duration { return now.Sub(c.start) }

func identify(r wire.Request) (wire.ID, wire.Kind) {
	switch r := r.(type) {
	case wire.Hello:
		return r.ID, wire.KindHello
	case wire.Check:
		return r.ID, wire.KindCheck
	case wire.Order:
		return r.ID, wire.KindOrder
	case wire.Query:
		return r.ID, wire.KindQuery
	case wire.Binding:
		return r.ID, wire.KindNone
	default:
		return wire.ID{}, wire.KindNone
	}
}

// unknown answers a natprobe message with attributes that it must understand and
// doesn't. It is paid for as any refusal.
func (c *core) unknown(a arrival, r wire.Binding) []byte {
	c.stats.Refused[wire.CodeUnknownAttribute]++
	c.stats.RefusedKind[wire.KindNone]++
	reply := wire.PlainError{ID: r.ID, Code: wire.CodeUnknownAttribute, Unknown: r.Unknown}.Encode()
	if wire.IPBytes(a.peer.Addr(), len(reply)) > a.size {
		c.stats.Silent++
		return nil
	}
	return reply
}

func (c *core) hello(now time.Time, a arrival, r wire.Hello) []byte {
	c.stats.Hellos++
	return c.answer(a, r.ID, wire.KindHello, wire.HelloReply{
		ID: r.ID, Mapped: a.peer, Token: c.minter.Mint(a.peer.Addr(), now), Boot: c.boot, Limits: c.advertise,
	}.Encode())
}

func (c *core) check(a arrival, r wire.Check) []byte {
	c.stats.Checks++
	return c.answer(a, r.ID, wire.KindCheck, wire.CheckReply{ID: r.ID, Mapped: a.peer, Boot: c.boot}.Encode())
}

// answer returns a reply that its request has paid for, else the refusal that
// says what would pay.
func (c *core) answer(a arrival, id wire.ID, kind wire.Kind, reply []byte) []byte {
	if wire.IPBytes(a.peer.Addr(), len(reply)) <= a.size {
		return reply
	}
	return c.unpaid(a, id, kind, len(reply))
}

// unpaid refuses a request of less than so many bytes of payload.
func (c *core) unpaid(a arrival, id wire.ID, kind wire.Kind, needed int) []byte {
	return c.refuse(a, wire.Refusal{
		ID: id, Kind: kind, Code: wire.CodeBadRequest, Limit: wire.LimitPayment, Value: limitValue(needed),
	})
}

// limitValue returns a limit as a refusal carries it.
func limitValue(n int) uint32 { return uint32(min(max(int64(n), 0), math.MaxUint32)) }

// refuse returns a refusal no larger than its request: without its token where
// that is what it takes, or none at all.
func (c *core) refuse(a arrival, r wire.Refusal) []byte {
	r.Boot = c.boot
	c.stats.Refused[r.Code]++
	c.stats.RefusedKind[r.Kind]++
	if r.Limit != wire.LimitNone {
		c.stats.RefusedLimit[r.Limit]++
	}
	if c.logger.Enabled(context.Background(), slog.LevelDebug) {
		c.logger.Debug("refused", "code", int(r.Code), "limit", r.Limit.String(), "prefix", masked(a.peer.Addr()).String())
	}
	for range 2 {
		if reply := r.Encode(); wire.IPBytes(a.peer.Addr(), len(reply)) <= a.size {
			return reply
		}
		r.Token = wire.Token{}
	}
	c.stats.Silent++
	return nil
}

// expire forgets what is old. It costs little where there is nothing to do.
func (c *core) expire(now time.Time) {
	at := c.since(now)
	c.slots.expire(at)
	c.expireOrders(at)
	c.sessions.expire(at)
}
