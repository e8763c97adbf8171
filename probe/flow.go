package probe

import (
	"slices"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// flowID names a socket of the run.
type flowID int

type actionKind uint8

const (
	actionOpen actionKind = iota
	actionSend
	actionClose
)

// action is what the engine wants done, in order. A send on a flow whose open
// failed is dropped.
type action struct {
	kind    actionKind
	flow    flowID
	port    uint16 // for actionOpen
	payload []byte // for actionSend
	hops    int    // for actionSend: dies after so many; 0: as far as it goes
}

// flowOwner is told what happens to its flow.
type flowOwner interface {
	received(wire.Reply)
	stray() // a datagram came in that nobody asked for
	failed(error)
}

// flow is one source port towards the reflector, and so one mapping.
type flow struct {
	id     flowID
	port   uint16
	owner  flowOwner
	regime results.Regime
	first  time.Duration // when the first packet was sent
	last   time.Duration // when the last packet was sent
	heard  time.Duration // when the last packet came in
	due    time.Duration // when the last burst that was ordered is over
	sent   int
	traced bool // its external address was seen
}

func (e *engine) open(owner flowOwner, regime results.Regime) *flow {
	e.lastFlow++
	f := &flow{id: e.lastFlow, port: e.ports.next(), owner: owner, regime: regime}
	e.flows[f.id] = f
	e.actions = append(e.actions, action{kind: actionOpen, flow: f.id, port: f.port})
	e.effort.MaxMappings = max(e.effort.MaxMappings, e.mappings())
	return f
}

// send is the only place where a packet leaves: nothing below it repeats one.
func (e *engine) send(f *flow, payload []byte) {
	if f.sent == 0 {
		f.first = e.now
	}
	f.last = e.now
	f.sent++
	e.effort.PacketsSent++
	e.effort.BytesSent += wire.IPBytes(e.cfg.Reflector.Addr(), len(payload))
	e.actions = append(e.actions, action{kind: actionSend, flow: f.id, payload: payload})
}

func (e *engine) close(f *flow) {
	if f == nil || e.flows[f.id] == nil {
		return
	}
	delete(e.flows, f.id)
	e.actions = append(e.actions, action{kind: actionClose, flow: f.id})
	if f.sent > 0 {
		if f.due == 0 { // else its orders tell
			e.untraced(f)
		}
		e.lingers = append(e.lingers, e.lingerOf(f))
	}
}

// lastSeen is when a box on the path sees a packet of the flow last, those that
// are still to come included: a burst comes also where nobody waits for it.
func (f *flow) lastSeen() time.Duration { return max(f.last, f.heard, f.due) }

// linger is a mapping whose flow is closed.
type linger struct {
	last   time.Duration
	regime results.Regime
}

// lingerOf returns what a flow leaves in the NAT. To Linux a flow that was replied
// to is a stream as soon as it is 2 s old; where room is short, that counts.
func (e *engine) lingerOf(f *flow) linger {
	if e.flowCap <= GentleFlows && (f.heard > 0 || f.due > e.now) {
		return linger{f.lastSeen(), results.Stream}
	}
	return linger{f.last, f.regime}
}

// mappings estimates how many mappings the NAT holds for this run: the open
// flows, and the closed ones that are younger than their regime's lifetime.
func (e *engine) mappings() int {
	e.lingers = slices.DeleteFunc(e.lingers, func(l linger) bool { return e.now-l.last > e.plan.outlives(l.regime) })
	return len(e.flows) + len(e.lingers)
}

func (e *engine) ipv6() bool { return e.cfg.Reflector.Addr().Unmap().Is6() }
