package probe

import (
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

const (
	// sentinelCount keeps, with loss too, more than one sentinel silent at any
	// moment.
	sentinelCount  = 4
	sentinelSpread = 100 * time.Millisecond
	// A sentinel's gap grows with the run: an expiry waits for the next
	// sentinel to report, and that may take longer when lifetimes are long.
	sentinelMinGap = time.Second
	sentinelMaxGap = 5 * time.Second
	sentinelGrowth = 25 // a gap of elapsed / 25
	// sentinelShare is how much of the longest lifetime proven for every
	// regime a sentinel's gap may take.
	sentinelShare = 0.6
	// sentinelDouble is the loss from which a sentinel sends its order twice.
	sentinelDouble = 0.05
	orderApart     = 120 * time.Millisecond
)

// sentinels are flows that always sit in a gap that no timer explains. While
// they live, the NAT kept its state; when they die together, it lost it.
type sentinels struct {
	e    *engine
	list []*sentinel
	// limit is the gap above which sentinels died although the NAT kept its
	// state.
	limit time.Duration
}

func (s *sentinels) init(e *engine) {
	s.e = e
	s.limit = sentinelMaxGap
}

// begin opens the sentinels, staggered over one gap.
func (s *sentinels) begin() {
	for i := range sentinelCount {
		one := &sentinel{e: s.e}
		s.list = append(s.list, one)
		s.e.after(time.Duration(i)*sentinelMinGap/sentinelCount, one.open)
	}
}

// gap returns the silence of a sentinel that begins now.
func (s *sentinels) gap() time.Duration {
	g := min(max(s.e.now/sentinelGrowth, sentinelMinGap), s.limit)
	if proven := s.e.plan.certain(); proven > 0 {
		g = min(g, max(time.Duration(float64(proven)*sentinelShare), min(sentinelMinGap, s.limit)))
	} else {
		g = min(g, sentinelMinGap)
	}
	return g
}

// patience is how long after an expiry its witnesses may take to report.
func (s *sentinels) patience() time.Duration {
	return 2*s.gap() + 2*s.e.path.max + 3*time.Second
}

// died takes the death of one. Where no other flow lived at that time and a
// second sentinel died too, the NAT lost its state.
func (s *sentinels) died(one *sentinel) {
	dead := one.silence
	if s.e.cover.covers(dead.from, dead.to) {
		// Another flow lived through it all: the gap is too long for this one.
		s.limit = max(dead.to-dead.from-s.e.path.max, 2*minGapStep) / 2
		return
	}
	for _, other := range s.list {
		if other == one || other.deaths == 0 {
			continue
		}
		from, to := max(dead.from, other.silence.from), min(dead.to, other.silence.to)
		if from < to && !s.e.cover.covers(from, to) {
			for _, each := range s.list {
				each.deaths = 0
			}
			s.e.stateLost(dead.to)
			return
		}
	}
}

const minGapStep = 250 * time.Millisecond

// sentinel is one such flow. It is a trial without a question: it repeats its
// order on the same mapping as long as it lives.
type sentinel struct {
	e       *engine
	flow    *flow
	token   wire.Token
	cycle   int // counts its orders; late timers of earlier ones do nothing
	orders  []*order
	silence span // of the latest death
	deaths  int
}

func (s *sentinel) open() {
	if s.flow != nil {
		s.e.close(s.flow)
	}
	s.flow = s.e.open(s)
	s.token = wire.Token{}
	s.cycle++
	s.greet(s.cycle)
}

func (s *sentinel) greet(cycle int) {
	if s.cycle != cycle {
		return
	}
	s.e.send(s.flow, wire.Hello{ID: wire.NewID()}.Encode())
	s.e.after(helloRetry, func() { s.greet(cycle) })
}

// rest places the order with which the next silence begins.
func (s *sentinel) rest() {
	s.cycle++
	cycle := s.cycle
	s.drop()
	gap := s.e.sentinels.gap()
	s.place(gap)
	if s.e.path.outbound().Upper95 > sentinelDouble {
		s.e.after(orderApart, func() {
			if s.cycle == cycle {
				s.place(gap)
			}
		})
	}
	s.e.after(gap+orderApart+sentinelSpread, func() { s.overdue(cycle) })
}

func (s *sentinel) place(gap time.Duration) {
	copies, _ := s.e.path.copies()
	copies = min(max(copies/2, 2), s.e.control.limits.MaxCopies)
	tokens := append([]wire.Token{s.token}, s.e.control.tokens.all()...)
	s.orders = append(s.orders, s.e.orders.place(s, s.flow, tokens[:min(len(tokens), wire.MaxTokens)], gap, sentinelSpread, copies))
}

func (s *sentinel) drop() {
	for _, o := range s.orders {
		s.e.orders.forget(o)
	}
	s.orders = nil
}

// overdue follows a burst of which nothing came, and waits for its receipt.
func (s *sentinel) overdue(cycle int) {
	if s.cycle != cycle {
		return
	}
	wait := s.e.path.maxRTT(s.e.now) + checkMargin
	s.e.after(wait+2*askAgain, func() { s.conclude(cycle) })
}

// conclude tells death from loss: dead is who got no copy of a burst that
// left, while the control flow got its beacons.
func (s *sentinel) conclude(cycle int) {
	if s.cycle != cycle {
		return
	}
	for _, o := range s.orders {
		if o.receipt == nil || 2*o.beaconCount() < o.copies {
			continue
		}
		_, last, _ := o.sent()
		s.silence = span{o.sentAt, o.sentAt + last}
		s.deaths++
		s.e.sentinels.died(s)
		s.open()
		return
	}
	s.rest() // lost, or not confirmed: nothing is known
}

func (s *sentinel) received(r wire.Reply) {
	switch r := r.(type) {
	case wire.HelloReply:
		if s.token == (wire.Token{}) {
			s.token = r.Token
			s.e.control.tokens.extend(r.Mapped.Addr(), r.Token)
			s.rest()
		}
	case wire.Burst:
		for _, o := range s.orders {
			if o.id == r.ID {
				s.deaths = 0
				s.e.witness(s.flow.last, s.e.now)
				s.rest()
				return
			}
		}
	case wire.Refusal:
		if r.Token != (wire.Token{}) {
			s.token = r.Token
		}
		s.e.refused(r)
		s.cycle++
		cycle := s.cycle
		s.e.after(sentinelMinGap, func() {
			if s.cycle == cycle {
				s.rest()
			}
		})
	}
}

func (s *sentinel) failed(error) {
	s.cycle++
	cycle := s.cycle
	s.e.after(time.Second, func() {
		if s.cycle == cycle {
			s.open()
		}
	})
}

func (s *sentinel) orderLost()    {}
func (s *sentinel) burstSettled() {}

// witness records that a mapping was silent from one time to another and
// lived. The NAT saw the last packet up to one RTT after it was sent, and the
// copy up to one RTT before it came.
func (e *engine) witness(from, to time.Duration) {
	rtt := max(e.path.maxRTT(from), e.path.maxRTT(to))
	e.cover.add(from+rtt, to-rtt)
	e.plan.recertify()
}
