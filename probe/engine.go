package probe

import (
	"container/heap"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// engine decides everything and touches nothing: its owner passes time,
// datagrams and failures in, and carries its actions out. All times are
// monotonic, since the start of the run. It is not safe for concurrent use.
type engine struct {
	cfg   Config
	start time.Time // wall clock at time zero, for the record only
	now   time.Duration

	timers  timerQueue
	actions []action

	flows      map[flowID]*flow
	lastFlow   flowID
	externals  map[netip.AddrPort]*flow // who had an external address last
	untracedAt time.Duration            // when the NAT saw a flow last whose external address is not known
	flowCap    int                      // cfg.Flows, or less where the machine or the reflector has less
	lackSince  *time.Duration           // since when next to no socket can be opened; nil: they can
	lingers    []linger
	ports      *portWalk

	path      path
	control   *control
	orders    orderBook
	cover     coverage
	sentinels sentinels
	pressure  pressure
	plan      plan

	// ready is called once the control flow stands, trialOver with each trial
	// that ended. They are the plan's, or a soak's.
	ready     func()
	trialOver func(*trial)
	gapFlag   string // the flag that a too long gap comes from

	finished  []*trial // in the order of their ends
	distrusts int      // how often expiries among them turned out to prove nothing
	events    []results.Event
	effort    results.Effort

	complete bool // each regime has its bracket
	over     bool
	err      error
}

// newEngine returns an engine that has not sent anything yet; the first
// advance starts it. cfg must be valid.
func newEngine(cfg Config, ports PortState, start time.Time) *engine {
	cfg = cfg.withDefaults()
	e := &engine{
		cfg:       cfg,
		start:     start,
		flows:     make(map[flowID]*flow),
		externals: make(map[netip.AddrPort]*flow),
		flowCap:   cfg.Flows,
		ports:     newPortWalk(ports),
	}
	e.orders.init(e)
	e.sentinels.init(e)
	e.pressure.e = e
	e.plan.init(e)
	e.control = newControl(e)
	e.ready, e.trialOver, e.gapFlag = e.started, e.plan.trialOver, "--max"
	e.at(0, e.control.begin)
	if cfg.Budget > 0 {
		e.at(cfg.Budget, func() { e.end(nil) })
	}
	return e
}

// advance runs what is due at now.
func (e *engine) advance(now time.Duration) {
	if late := e.timers.lateness(now); late > stallLimit {
		e.now = max(e.now, now)
		e.suspended(late)
	}
	e.now = max(e.now, now)
	for !e.over && len(e.timers.items) > 0 && e.timers.items[0].at <= e.now {
		heap.Pop(&e.timers).(timer).run()
	}
}

// wake returns when advance must be called next.
func (e *engine) wake() (time.Duration, bool) {
	if e.over || len(e.timers.items) == 0 {
		return 0, false
	}
	return e.timers.items[0].at, true
}

// receive takes a datagram that reached a flow's socket at the given time.
func (e *engine) receive(at time.Duration, id flowID, from netip.AddrPort, payload []byte) {
	f := e.flows[id]
	if f == nil || e.over {
		return
	}
	e.now = max(e.now, at)
	f.heard = e.now
	if len(e.flows) >= leastFlows {
		e.lackSince = nil
	}
	reply, err := wire.ParseReply(payload)
	if err != nil || from != e.cfg.Reflector {
		f.owner.stray()
		return
	}
	e.effort.PacketsRecv++
	if b := bootOf(reply); b != (wire.BootID{}) {
		e.control.sawBoot(b)
	}
	f.owner.received(reply)
}

// failed takes the failure of a flow's socket: it could not be opened, or not
// written to.
func (e *engine) failed(id flowID, err error) {
	f := e.flows[id]
	if f == nil || e.over {
		return
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		if e.lack(); e.over {
			return
		}
	}
	f.owner.failed(err)
}

// lack takes that a socket could not be opened because too many files are open.
// With next to no socket the run ends, at once where it had not begun, else when
// others that hold files had time to close theirs.
func (e *engine) lack() {
	if len(e.flows) < leastFlows {
		if e.lackSince == nil {
			e.lackSince = new(e.now)
		}
		if !e.control.running || e.now-*e.lackSince >= lackPatience {
			e.end(fmt.Errorf("%w: %d flows were open, and at least %d are needed", ErrFiles, len(e.flows)-1, leastFlows))
			return
		}
	}
	if fewer := max(len(e.flows)-descriptorReserve, minFlows); fewer < e.flowCap {
		e.flowCap = fewer
		e.event(results.ReasonSocket, fmt.Sprintf("no more file descriptors: going on with %d flows at a time", min(fewer, len(e.flows)-1)), 0)
	}
}

const (
	// leastFlows is with how few flows at a time a run still gets somewhere.
	leastFlows = 16
	// descriptorReserve leaves room for the sockets of others in this process.
	descriptorReserve = 8
	lackPatience      = 10 * time.Second
)

// take returns the actions decided since the last call, in order.
func (e *engine) take() []action {
	a := e.actions
	e.actions = nil
	return a
}

// end closes the run; what is in flight proves nothing and is dropped.
func (e *engine) end(err error) {
	if e.over {
		return
	}
	e.err = err
	for _, t := range e.plan.inFlight {
		t.abandon()
	}
	e.over = true
	e.effort.ElapsedS = e.now.Seconds()
}

// at runs fn when advance reaches t.
func (e *engine) at(t time.Duration, fn func()) { e.timers.add(t, fn) }

// after runs fn when d has passed.
func (e *engine) after(d time.Duration, fn func()) { e.timers.add(e.now+d, fn) }

func bootOf(r wire.Reply) wire.BootID {
	switch r := r.(type) {
	case wire.HelloReply:
		return r.Boot
	case wire.CheckReply:
		return r.Boot
	case wire.QueryReply:
		return r.Boot
	case wire.Refusal:
		return r.Boot
	default:
		return wire.BootID{}
	}
}
