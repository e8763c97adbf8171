package reflector

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// gate is where natprobe messages arrive and where their answers leave. It does
// all that needs no memory of anyone: who has shown no good token gets no further,
// and takes no lock from those whose bursts are due. It is safe for concurrent
// use.
type gate struct {
	limits    Limits
	advertise wire.Limits
	minter    *wire.Minter
	boot      wire.BootID
	logger    *slog.Logger
	start     time.Time // its monotonic reading is the zero of all durations here

	// What each address sends with a good token, and what it and its network send
	// without. They are counted apart, so that nobody who forges a prober's address
	// can use up what it may send.
	proven, unproven, unprovenNetwork *meter
	// excess is how often an address and a network are told that they send too much
	// without.
	excess, excessNetwork *meter

	foreign           atomic.Uint64
	answered, refused [visitKinds]atomic.Uint64
	codes             map[wire.Code]*atomic.Uint64 // of refusals
	limitsMet         [wire.LimitPayment + 1]atomic.Uint64
	silent            atomic.Uint64 // refusals that would have been larger than their request, or too many
}

// excessPPS is how many packets above its rate an address that shows no token is
// answered in a second, and its network networkRate times as many: enough to learn of
// it, and of no use to who wants to hit another.
const excessPPS = 10

// visitMalformed is what a message is counted as that has no kind, as it can't be
// read. What has a kind is counted as that, and as wire.KindNone where it has
// attributes that must be understood and aren't.
const (
	visitMalformed = wire.KindQuery + 1
	visitKinds     = visitMalformed + 1
)

func newGate(cfg Config, limits Limits, minter *wire.Minter, start time.Time) *gate {
	g := &gate{
		limits: limits, advertise: limits.advertised(cfg.EgressGap), minter: minter,
		boot: wire.NewBootID(), logger: cfg.Logger, start: start,
		proven: newMeter(limits.PPS), unproven: newMeter(limits.PPS), unprovenNetwork: newMeter(limits.networkPPS()),
		excess: newMeter(excessPPS), excessNetwork: newMeter(excessPPS * networkRate),
		codes: make(map[wire.Code]*atomic.Uint64),
	}
	for _, code := range []wire.Code{
		wire.CodeBadRequest, wire.CodeUnknownAttribute, wire.CodeUnknownSession, wire.CodeStaleToken, wire.CodeQuota, wire.CodeCapacity,
	} {
		g.codes[code] = new(atomic.Uint64)
	}
	return g
}

// visit is a natprobe message that a port received.
type visit struct {
	way
	port *port
	at   time.Time
	size int // IP bytes
	id   wire.ID
	kind wire.Kind // as it is counted
	// proven says that it came with a token that was good for its source.
	proven bool
}

// since returns a moment as a monotonic duration.
func (g *gate) since(now time.Time) time.Duration { return now.Sub(g.start) }

// enter takes a natprobe message. It returns the request of who has shown a good
// token, for the core; else nil, and what to send back at once, which may be
// nothing.
func (g *gate) enter(now time.Time, p *port, from way, payload []byte) (v visit, request wire.Request, reply []byte) {
	v = visit{way: from, port: p, at: now, size: wire.IPBytes(from.peer.Addr(), len(payload))}
	r, err := wire.ParseRequest(payload)
	malformed := errors.Is(err, wire.ErrMalformed)
	if err != nil && !malformed {
		g.foreign.Add(1)
		return v, nil, nil
	}
	var tokens []wire.Token
	switch r := r.(type) {
	case wire.Hello:
		v.id, v.kind, tokens = r.ID, wire.KindHello, []wire.Token{r.Token}
	case wire.Check:
		v.id, v.kind, tokens = r.ID, wire.KindCheck, []wire.Token{r.Token}
	case wire.Order:
		v.id, v.kind, tokens = r.ID, wire.KindOrder, r.Tokens
	case wire.Query:
		v.id, v.kind, tokens = r.ID, wire.KindQuery, []wire.Token{r.Token}
	case wire.Binding:
		v.id, v.kind = r.ID, wire.KindNone
		if malformed {
			v.kind = visitMalformed
		}
	}
	v.proven = g.proves(from.peer.Addr(), tokens, now)
	if !g.allows(v) {
		return v, nil, g.refuse(v, wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitRate, Value: limitValue(g.limits.PPS)})
	}
	if v.proven && (v.kind == wire.KindOrder || v.kind == wire.KindQuery) {
		return v, r, nil
	}
	return v, nil, g.answer(v, r)
}

// allows says whether a message is within its sender's rate.
func (g *gate) allows(v visit) bool {
	at, addr := g.since(v.at), v.peer.Addr()
	if v.proven {
		return g.proven.allow(address(addr), at)
	}
	return g.unproven.allow(address(addr), at) && g.unprovenNetwork.allow(network(addr), at)
}

// answer answers what needs no core.
func (g *gate) answer(v visit, r wire.Request) []byte {
	switch r := r.(type) {
	case wire.Hello:
		return g.reply(v, wire.HelloReply{
			ID: r.ID, Mapped: v.peer, Token: g.minter.Mint(v.peer.Addr(), v.at), Boot: g.boot, Limits: g.advertise,
		}.Encode())
	case wire.Check:
		return g.reply(v, wire.CheckReply{ID: r.ID, Mapped: v.peer, Boot: g.boot}.Encode())
	case wire.Binding:
		if v.kind == visitMalformed {
			return g.refuse(v, wire.Refusal{Code: wire.CodeBadRequest})
		}
		return g.unknown(v, r)
	default:
		return g.refuse(v, wire.Refusal{Code: wire.CodeStaleToken, Token: g.minter.Mint(v.peer.Addr(), v.at)})
	}
}

// leave returns what to send back of what the core says: a QueryReply, a Refusal,
// which gets a fresh token, or nothing.
func (g *gate) leave(v visit, answer wire.Reply) []byte {
	switch a := answer.(type) {
	case wire.QueryReply:
		a.Token, a.Boot = g.minter.Mint(v.peer.Addr(), v.at), g.boot
		return g.reply(v, a.Encode())
	case wire.Refusal:
		a.Token = g.minter.Mint(v.peer.Addr(), v.at)
		return g.refuse(v, a)
	default: // an order, which the core has counted
		return nil
	}
}

// reply returns a reply that its request has paid for, else the refusal that
// says what would pay.
func (g *gate) reply(v visit, reply []byte) []byte {
	if wire.IPBytes(v.peer.Addr(), len(reply)) > v.size {
		return g.refuse(v, unpaid(len(reply)))
	}
	g.answered[v.kind].Add(1)
	return reply
}

// unpaid refuses a request that needs so many bytes of payload.
func unpaid(needed int) wire.Refusal {
	return wire.Refusal{Code: wire.CodeBadRequest, Limit: wire.LimitPayment, Value: limitValue(needed)}
}

// limitValue returns a limit as a refusal carries it.
func limitValue(n int) uint32 { return uint32(min(max(int64(n), 0), math.MaxUint32)) }

// unknown answers a natprobe message with attributes that it must understand and
// doesn't. It is paid for as any refusal.
func (g *gate) unknown(v visit, r wire.Binding) []byte {
	g.refused[v.kind].Add(1)
	g.codes[wire.CodeUnknownAttribute].Add(1)
	return g.pay(v, wire.PlainError{ID: r.ID, Code: wire.CodeUnknownAttribute, Unknown: r.Unknown}.Encode())
}

// refuse returns a refusal no larger than its request: without its token where
// that is what it takes, or none at all.
func (g *gate) refuse(v visit, r wire.Refusal) []byte {
	r.ID, r.Boot = v.id, g.boot
	if v.kind != visitMalformed {
		r.Kind = v.kind
	}
	g.refused[v.kind].Add(1)
	g.codes[r.Code].Add(1)
	if r.Limit != wire.LimitNone {
		g.limitsMet[r.Limit].Add(1)
	}
	if g.logger.Enabled(context.Background(), slog.LevelDebug) {
		g.logger.Debug("refused", "code", int(r.Code), "limit", r.Limit.String(), "prefix", masked(v.peer.Addr()).String())
	}
	addr := v.peer.Addr()
	if r.Limit == wire.LimitRate && !v.proven && !g.tells(v) {
		g.silent.Add(1)
		return nil
	}
	reply := r.Encode()
	if r.Token != (wire.Token{}) && wire.IPBytes(addr, len(reply)) > v.size {
		r.Token = wire.Token{}
		reply = r.Encode()
	}
	return g.pay(v, reply)
}

// tells says whether one more packet above the rate of who shows no token is answered.
func (g *gate) tells(v visit) bool {
	at, addr := g.since(v.at), v.peer.Addr()
	return g.excess.allow(address(addr), at) && g.excessNetwork.allow(network(addr), at)
}

// pay returns an error response that its request has paid for, else nothing.
func (g *gate) pay(v visit, reply []byte) []byte {
	if wire.IPBytes(v.peer.Addr(), len(reply)) > v.size {
		g.silent.Add(1)
		return nil
	}
	return reply
}

// addTo adds what was counted to a snapshot.
func (g *gate) addTo(s *Stats) {
	came := func(kind wire.Kind) uint64 {
		refused := g.refused[kind].Load()
		s.RefusedKind[kind] = refused
		return g.answered[kind].Load() + refused
	}
	s.Hellos, s.Checks, s.Queries = came(wire.KindHello), came(wire.KindCheck), came(wire.KindQuery)
	s.Orders = came(wire.KindOrder) + s.Accepted + s.Duplicates
	s.Malformed = g.refused[visitMalformed].Load()
	s.Unknown = g.refused[wire.KindNone].Load()
	s.RefusedKind[wire.KindNone] = s.Malformed + s.Unknown
	s.Foreign += g.foreign.Load()
	s.Silent += g.silent.Load()
	for code, n := range g.codes {
		if n := n.Load(); n != 0 {
			s.Refused[code] += n
		}
	}
	for limit := range g.limitsMet {
		if n := g.limitsMet[limit].Load(); n != 0 {
			s.RefusedLimit[wire.LimitKind(limit)] += n
		}
	}
}

// proves says whether one of the tokens is good for addr. That none was sent is a
// token of zeros, which expired long ago.
func (g *gate) proves(addr netip.Addr, tokens []wire.Token, now time.Time) bool {
	return slices.ContainsFunc(tokens, func(t wire.Token) bool { return g.minter.Verify(addr, t, now) })
}
