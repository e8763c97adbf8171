package probe

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

const (
	helloRetry = 400 * time.Millisecond
	helloTries = 12 // about 5 s until the reflector counts as unreachable

	// portTries is how many source ports in use stop the run before it begins.
	portTries = 100

	// The control flow is polled fast at first, to learn the loss that decides
	// the size of bursts, then while orders wait for an answer, then slowly.
	pollWarmup  = 4 * time.Millisecond
	warmupPolls = 120
	pollLearn   = 20 * time.Millisecond
	learnPolls  = 300
	pollBusy    = 80 * time.Millisecond
	pollIdle    = 250 * time.Millisecond

	// pollShare is how much of the packet rate that the reflector grants its
	// address the control flow takes, percent.
	pollShare = 70
	// queriesKept is how many queries wait for an answer.
	queriesKept = 512

	// outageAfter is a silence of the control flow that loss of 30 % in each
	// direction makes about once in a thousand windows.
	outageAfter = 2500 * time.Millisecond
	// giveUpAfter ends a run whose reflector doesn't come back.
	giveUpAfter = 60 * time.Second

	// beaconPayment is the padding with which each query pays for a beacon that
	// an order was too small to pay for.
	beaconPayment = 80
)

// control is the one flow that is never silent: it brings tokens, tells which
// orders arrived and when bursts left, and measures loss and RTT.
type control struct {
	e       *engine
	flow    *flow
	session wire.SessionID
	tries   int
	// reopened counts the source ports that another program holds.
	reopened int
	running  bool // a token and the limits are known

	mapped netip.AddrPort
	boot   wire.BootID
	limits wire.Limits
	tokens tokenPool

	seq        uint32
	sentAt     map[uint32]time.Duration // of queries, by sequence number
	queries    map[wire.ID]uint32       // their sequence numbers
	hellos     map[wire.ID]bool         // that were sent
	sendErr    error                    // of the last hello that could not be sent
	turnedAway bool                     // a hello was refused, for the packet rate of our address
	refusals   int                      // queries refused since the last answer
	spacing    time.Duration            // the least time between queries
	warned     bool                     // of the reflector's packet rate
	lastSeq    uint32                   // highest answered
	lastCount  uint32                   // the reflector's count in that answer
	lastReply  time.Duration
	recent     []query // the latest, by the time when they were sent
	outage     bool
	outageAt   time.Duration
}

func newControl(e *engine) *control {
	return &control{
		e: e, session: wire.NewSessionID(),
		sentAt: make(map[uint32]time.Duration), queries: make(map[wire.ID]uint32), hellos: make(map[wire.ID]bool),
	}
}

func (c *control) begin() {
	c.flow = c.e.open(c, results.Stream)
	c.greet()
}

func (c *control) greet() {
	if c.running {
		return
	}
	switch {
	case c.tries < helloTries:
	case c.turnedAway:
		c.e.end(fmt.Errorf("%w: %v takes no more packets from your address now, and others may be sending them in its name; try again later",
			ErrRefused, c.e.cfg.Reflector))
		return
	case c.sendErr != nil:
		c.e.end(fmt.Errorf("%w: %v: %w", ErrUnreachable, c.e.cfg.Reflector, c.sendErr))
		return
	default:
		c.e.end(fmt.Errorf("%w: %v did not answer %d requests in %v", ErrUnreachable,
			c.e.cfg.Reflector, helloTries, helloTries*helloRetry))
		return
	}
	c.tries++
	c.sendHello()
	c.e.after(helloRetry, c.greet)
}

func (c *control) sendHello() {
	id := wire.NewID()
	c.hellos[id] = true
	c.e.send(c.flow, wire.Hello{ID: id}.Encode())
}

func (c *control) failed(err error) {
	switch {
	case c.running:
	case errors.Is(err, syscall.EADDRINUSE) && c.reopened < portTries:
		c.reopened++
		c.e.close(c.flow)
		c.flow = c.e.open(c, results.Stream)
		c.sendHello()
	case c.tries > 1: // it could be sent before: this one is lost
		c.sendErr = err
	default:
		c.e.end(fmt.Errorf("%w: %v: %w", ErrUnreachable, c.e.cfg.Reflector, err))
	}
	// Later failures to send are losses, and an outage when they last.
}

func (c *control) stray() {}

func (c *control) received(r wire.Reply) {
	switch r := r.(type) {
	case wire.HelloReply:
		c.hello(r)
	case wire.QueryReply:
		c.answered(r)
	case wire.Beacon:
		c.e.orders.beacon(r.Copy)
	case wire.Refusal:
		c.refused(r)
	case wire.BindingReply:
		if !c.running && c.hellos[r.ID] {
			c.e.end(fmt.Errorf("%w: %v is a plain STUN server, not a natprobe reflector", ErrRefused, c.e.cfg.Reflector))
		}
	}
}

func (c *control) hello(r wire.HelloReply) {
	if !c.hellos[r.ID] {
		return
	}
	c.tokens.add(r.Mapped.Addr(), r.Token)
	if c.running {
		return
	}
	c.running = true
	c.mapped = r.Mapped
	c.limits = r.Limits
	c.lastReply = c.e.now
	if c.limits.MaxDelay < c.e.cfg.Max {
		c.e.end(fmt.Errorf("%w: %v grants delays up to %v, and the longest gap is %v: choose a smaller %s",
			ErrRefused, c.e.cfg.Reflector, c.limits.MaxDelay, c.e.cfg.Max, c.e.gapFlag))
		return
	}
	if pps := c.limits.PPS; pps > 0 {
		c.spacing = time.Second / time.Duration(max(pps*pollShare/100, 1))
	}
	c.poll()
	c.e.ready()
}

func (c *control) refused(r wire.Refusal) {
	seq, asked := c.queries[r.ID]
	if !asked && !c.hellos[r.ID] {
		return // for somebody who sends in our name
	}
	if asked {
		// It arrived, and its answer came: the path lost nothing.
		delete(c.queries, r.ID)
		delete(c.sentAt, seq)
		c.refusals++
		c.lastReply = c.e.now
		if r.Limit == wire.LimitRate {
			c.limited(r)
		}
	}
	if r.Token != (wire.Token{}) {
		c.tokens.add(c.mapped.Addr(), r.Token)
		return // the next query carries it
	}
	// Before there is a token, who forges our address can use up its packets: the
	// next hello may get through.
	switch {
	case c.running:
	case r.Limit == wire.LimitRate:
		c.turnedAway = true
	default:
		c.e.end(fmt.Errorf("%w: %v answers %v, %v", ErrRefused, c.e.cfg.Reflector, r.Code, r.Limit))
	}
}

// limited goes slower where the reflector takes no more packets from this
// address.
func (c *control) limited(r wire.Refusal) {
	c.spacing = min(max(2*c.spacing, pollWarmup), time.Second)
	c.e.plan.pause(time.Second)
	if !c.warned {
		c.warned = true
		c.e.event(results.ReasonRefused, fmt.Sprintf(
			"the reflector takes %d packets a second from your address, and others may be measuring from it: going slower", r.Value), 0)
	}
}

// poll sends a query and arranges the next.
func (c *control) poll() {
	c.seq++
	c.sentAt[c.seq] = c.e.now
	delete(c.sentAt, c.seq-queriesKept)
	maps.DeleteFunc(c.queries, func(_ wire.ID, seq uint32) bool { return seq+queriesKept <= c.seq })
	id := wire.NewID()
	c.queries[id] = c.seq
	q := wire.Query{
		ID: id, Session: c.session, Token: c.tokens.first(), Seq: c.seq,
		Orders: c.e.orders.toAsk(wire.MaxQueryIDs),
	}
	if c.recent = append(c.recent, query{seq: c.seq, at: c.e.now}); len(c.recent) > 2*queriesKept {
		c.recent = slices.Delete(c.recent, 0, queriesKept)
	}
	q.Size = len(q.Encode()) + beaconPayment
	c.e.send(c.flow, q.Encode())
	c.watch()

	next := pollIdle
	switch {
	case c.seq < warmupPolls:
		next = pollWarmup
	case c.seq < learnPolls:
		next = pollLearn
	case c.e.orders.asking() && !c.outage:
		next = pollBusy
	}
	c.e.after(max(next, c.spacing), c.poll)
}

// watch notices that answers stay away.
func (c *control) watch() {
	silence := c.e.now - c.lastReply
	switch {
	case silence > giveUpAfter:
		c.e.end(fmt.Errorf("%w: %v has been silent for %v", ErrUnreachable, c.e.cfg.Reflector, giveUpAfter))
	case silence > outageAfter+c.e.path.maxRTT(c.e.now) && !c.outage:
		c.outage = true
		c.outageAt = c.lastReply
	}
}

func (c *control) answered(r wire.QueryReply) {
	if seq, ok := c.queries[r.ID]; !ok || seq != r.Seq {
		return
	}
	c.tokens.add(r.Mapped.Addr(), r.Token)
	delete(c.queries, r.ID)
	sent := c.sentAt[r.Seq]
	delete(c.sentAt, r.Seq)
	if i, found := slices.BinarySearchFunc(c.recent, r.Seq, func(q query, seq uint32) int { return cmp.Compare(q.seq, seq) }); found {
		c.recent[i].answered = true
	}
	c.e.path.sawRTT(sent, c.e.now-sent)
	c.count(r)
	c.lastReply = c.e.now
	if c.outage {
		c.outage = false
		c.e.outageOver(c.outageAt)
	}
	if r.Mapped != c.mapped {
		old := c.mapped
		c.mapped = r.Mapped
		c.e.addressChanged(old, r.Mapped)
	}
	for _, receipt := range r.Receipts {
		c.e.orders.receipt(receipt, sent)
	}
}

// query is one that was sent.
type query struct {
	seq      uint32
	at       time.Duration
	answered bool
}

const (
	// The path worked at a moment where of the queries sent so near to it, and
	// there are so many, this share was answered. At a loss of 10 % each way
	// four of five are.
	workedNear  = 600 * time.Millisecond
	workedLeast = 3
	workedShare = 0.6
)

// workedAt reports whether the control flow got answers around a moment.
func (c *control) workedAt(t time.Duration) bool {
	sent, answered := 0, 0
	known := c.e.now - c.e.path.maxRTT(c.e.now) // later ones may still be answered
	for _, q := range slices.Backward(c.recent) {
		if q.at < t-workedNear {
			break
		}
		if q.at <= min(t+workedNear, known) {
			sent++
			if q.answered {
				answered++
			}
		}
	}
	return sent >= workedLeast && float64(answered) >= workedShare*float64(sent)
}

// count adds what an answer tells of loss. What an outage swallowed is no loss
// of the path.
func (c *control) count(r wire.QueryReply) {
	switch {
	case r.Seq <= c.lastSeq:
		c.e.path.inLost = max(c.e.path.inLost-1, 0) // counted as lost by a later answer that overtook it
		return
	case r.Received <= c.lastCount: // the reflector restarted its count
		c.lastSeq, c.lastCount = r.Seq, r.Received
		return
	}
	sent, arrived := int(r.Seq-c.lastSeq)-c.refusals, int(r.Received-c.lastCount)
	c.refusals = 0
	c.lastSeq, c.lastCount = r.Seq, r.Received
	if c.outage {
		return
	}
	c.e.path.outSent += max(sent, arrived)
	c.e.path.outLost += max(sent-arrived, 0)
	c.e.path.inSent += arrived
	c.e.path.inLost += arrived - 1
}

// sawBoot notices a reflector that started anew: it has forgotten all orders.
func (c *control) sawBoot(b wire.BootID) {
	old := c.boot
	c.boot = b
	if old != (wire.BootID{}) && old != b {
		c.e.restarted()
	}
}

// tokenPool holds the freshest token of each external address that was seen,
// the latest first: a NAT with a pool of addresses may give a flow any of them.
type tokenPool struct{ tokens []addrToken }

type addrToken struct {
	addr  netip.Addr
	token wire.Token
}

func (p *tokenPool) add(addr netip.Addr, t wire.Token) {
	kept := make([]addrToken, 0, wire.MaxTokens)
	kept = append(kept, addrToken{addr, t})
	for _, old := range p.tokens {
		if old.addr != addr && len(kept) < wire.MaxTokens {
			kept = append(kept, old)
		}
	}
	p.tokens = kept
}

// extend adds the token of another external address than the control flow's,
// which stays first. The zero address stands for one that is not known.
func (p *tokenPool) extend(addr netip.Addr, t wire.Token) {
	if len(p.tokens) == 0 || addr == p.tokens[0].addr {
		p.add(addr, t)
		return
	}
	first := p.tokens[0]
	p.add(addr, t)
	p.add(first.addr, first.token)
}

func (p *tokenPool) first() wire.Token {
	if len(p.tokens) == 0 {
		return wire.Token{}
	}
	return p.tokens[0].token
}

func (p *tokenPool) all() []wire.Token {
	list := make([]wire.Token, len(p.tokens))
	for i, t := range p.tokens {
		list[i] = t.token
	}
	return list
}
