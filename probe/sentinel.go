package probe

import (
	"math/rand/v2"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

const (
	// sentinelCount keeps, with loss too, several sentinels silent at any
	// moment.
	sentinelCount  = 6
	sentinelSpread = 100 * time.Millisecond
	// sentinelCopies leave room in the reflector's slots: whether loss took
	// them is judged over several sentinels.
	sentinelCopies = 2
	// A sentinel's gap follows the longest lifetime proven: an expiry waits
	// for the next sentinel to report, and that may take longer where
	// lifetimes are long.
	sentinelMinGap = time.Second
	sentinelMaxGap = 6 * time.Second
	sentinelTenth  = 10 // a gap of the longest proven lifetime / 10
	// sentinelShare is how much of its regime's proven lifetime a sentinel's
	// gap may take.
	sentinelShare = 0.6
	// sentinelRTTs is how many round trips a sentinel's gap should be.
	sentinelRTTs = 8
	// sentinelJitter keeps the sentinels from falling into step, ±.
	sentinelJitter = 0.15
	sentinelRetry  = time.Second
	// streamsKnown is when the shortest streams have been judged.
	streamsKnown = 10 * time.Second
	// sentinelReserve is the part of the mappings, one in so many, that trials
	// leave to sentinels.
	sentinelReserve = 12
)

// sentinels are flows that always sit in a gap that no timer explains. While
// they live, the NAT kept its state; when they die together, it lost it.
type sentinels struct {
	e    *engine
	rng  *rand.Rand
	list []*sentinel
	// limit is the gap above which sentinels died although the NAT kept its
	// state.
	limit time.Duration
}

func (s *sentinels) init(e *engine) {
	s.e = e
	s.limit = sentinelMaxGap
	seed := e.cfg.Seed
	if seed == 0 {
		seed = uint64(e.start.UnixNano())
	}
	s.rng = rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // staggers packets, keeps no secret
}

// begin opens the sentinels, staggered over one gap.
func (s *sentinels) begin() {
	for i := range sentinelCount {
		one := &sentinel{e: s.e}
		s.list = append(s.list, one)
		s.e.after(time.Duration(i)*sentinelMinGap/sentinelCount, one.rest)
	}
}

// gap returns the next silence of a sentinel, and whether it sits on a mapping
// of its own in the solitary regime. Otherwise it stays on one that has
// conversed, and so in the stream regime. The regime that lives longer makes
// the better witness.
func (s *sentinels) gap() (gap time.Duration, solitary bool) {
	single, stream := s.e.plan.proven(results.Solitary), s.e.plan.proven(results.Stream)
	// A solitary sentinel costs a mapping for each silence, and streams prove
	// themselves later than others.
	solitary = single > 2*stream && s.e.now > streamsKnown && s.e.flowCap > GentleFlows
	longest := stream
	if solitary {
		longest = single
	}
	gap = min(longest/sentinelTenth, time.Duration(sentinelShare*float64(longest)), sentinelMaxGap)
	gap = max(gap, sentinelMinGap)
	// A silence of few round trips witnesses little of itself: see witness.
	if far := sentinelRTTs * s.e.path.maxRTT(s.e.now); far > gap {
		gap = max(gap, min(far, time.Duration(sentinelShare*float64(longest))))
	}
	gap = min(gap, s.limit)
	return time.Duration(float64(gap) * (1 - sentinelJitter + 2*sentinelJitter*s.rng.Float64())), solitary
}

// patience is how long after an expiry its witnesses may take to report.
func (s *sentinels) patience() time.Duration {
	gap, _ := s.gap()
	return 2*gap + 2*s.e.path.maxRTT(s.e.now) + 3*time.Second
}

// died takes the death of one. Where no other flow lived at that time, and
// others died too, so many that loss is too unlikely, the NAT lost its state.
func (s *sentinels) died(one *sentinel) {
	dead := one.silence
	if s.e.cover.covers(dead.from, dead.to) {
		// Other flows lived through it all. Where it happens again and again,
		// the gap is too long for a mapping of this kind.
		if s.e.path.burstTold(one.deaths * sentinelCopies) {
			s.limit = max((dead.to-dead.from)/2, sentinelMinGap/4)
		}
		return
	}
	from, to, died, copies := dead.from, dead.to, 0, 0
	for _, each := range s.list {
		if each.deaths > 0 && each.silence.from < to && from < each.silence.to {
			from, to = max(from, each.silence.from), min(to, each.silence.to)
			died++
			copies += sentinelCopies
		}
	}
	if died < 2 || !s.e.path.burstTold(copies) || s.e.cover.covers(from, to) {
		return
	}
	s.e.stateLost(dead.to)
	for i, each := range s.list { // what they still wait for died with the rest
		each.deaths = 0
		if each != one {
			each.abandon()
			each.later(time.Duration(i)*sentinelMinGap/sentinelCount, each.rest)
		}
	}
}

// sentinel is one such flow: a trial without a question, repeated.
type sentinel struct {
	e        *engine
	flow     *flow // nil: to be opened
	solitary bool
	token    wire.Token // in-flow, for the stream regime
	cycle    int        // counts silences; timers of earlier ones do nothing
	order    *order
	silence  span // of the latest death
	deaths   int  // since it last lived
}

// later runs fn after d, unless another cycle has begun by then.
func (s *sentinel) later(d time.Duration, fn func()) {
	cycle := s.cycle
	s.e.after(d, func() {
		if s.cycle == cycle {
			fn()
		}
	})
}

// rest begins the next silence.
func (s *sentinel) rest() {
	s.pause()
	gap, solitary := s.e.sentinels.gap()
	if solitary || s.solitary {
		s.leave() // a solitary mapping is good for one silence
	}
	s.solitary = solitary
	if s.flow == nil {
		regime := results.Stream
		if solitary {
			regime = results.Solitary
		}
		s.flow = s.e.open(s, regime)
	}
	tokens := s.e.control.tokens.all()
	if !solitary {
		if s.token == (wire.Token{}) {
			s.greet()
			return
		}
		tokens = append([]wire.Token{s.token}, tokens...)
	}
	copies := min(sentinelCopies, s.e.control.limits.MaxCopies)
	s.order = s.e.orders.place(s, s.flow, tokens[:min(len(tokens), wire.MaxTokens)], gap, sentinelSpread, copies)
	s.later(gap+sentinelSpread+s.e.path.maxRTT(s.e.now)+checkMargin, s.overdue)
}

// pause ends the silence that is under way.
func (s *sentinel) pause() {
	s.cycle++
	s.e.orders.forget(s.order)
	s.order = nil
}

// abandon ends the silence, and the flow with it.
func (s *sentinel) abandon() {
	s.pause()
	s.leave()
}

// leave closes the flow; the next silence is on a new one.
func (s *sentinel) leave() {
	if s.flow != nil {
		s.e.close(s.flow)
	}
	s.flow = nil
	s.token = wire.Token{}
}

func (s *sentinel) greet() {
	s.e.send(s.flow, wire.Hello{ID: wire.NewID(), Token: s.e.control.tokens.first()}.Encode())
	s.later(helloRetry, s.greet)
}

// overdue follows a burst of which nothing came. Dead is who got no copy of a
// burst that left, while the control flow got its beacons; else nothing is
// known, and the next silence begins.
func (s *sentinel) overdue() {
	o := s.order
	if o.receipt == nil && s.e.now < o.burstEnds()+sentinelRetry {
		s.later(askAgain, s.overdue)
		return
	}
	if o.receipt != nil && 2*o.beaconCount() >= o.copies {
		_, last, _ := o.sent()
		s.silence = span{o.sentAt, o.sentAt + last}
		s.deaths++
		s.leave()
		s.e.sentinels.died(s)
	}
	s.rest()
}

func (s *sentinel) received(r wire.Reply) {
	switch r := r.(type) {
	case wire.HelloReply:
		if s.order == nil {
			s.token = r.Token
			s.e.control.tokens.extend(r.Mapped.Addr(), r.Token)
			s.rest()
		}
	case wire.Burst:
		if s.order != nil && s.order.id == r.ID {
			s.deaths = 0
			s.e.witness(s.order.sentAt, s.e.now)
			s.rest()
		}
	case wire.Refusal:
		s.e.refused(r)
		s.pause()
		s.later(sentinelRetry/4, s.rest)
	}
}

func (s *sentinel) stray() {}

func (s *sentinel) failed(error) {
	s.abandon()
	s.later(sentinelRetry, s.rest)
}

// orderLost begins again at once: a sentinel that is not silent sees nothing.
func (s *sentinel) orderLost() { s.rest() }

func (s *sentinel) portReused() {}

func (s *sentinel) burstSettled() {}

// witness records that a mapping was silent from one time to another and
// lived. Its silence at the NAT began as late after the packet was sent as
// round trips vary, compared with the packets of other flows, and ended up to
// one RTT before the copy came.
func (e *engine) witness(from, to time.Duration) {
	e.cover.add(from+e.path.jitter(from), to-e.path.maxRTT(to))
	e.plan.recertify()
}
