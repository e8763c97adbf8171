package wgapply

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/natprobe/natprobe/vpn"
)

// What is here is a small model of two WireGuard peers: their timers, sessions
// and counters, as wireguard-go's device/timers.go, send.go and receive.go have
// them. Times are since the model began.

// The protocol's times (https://www.wireguard.com/papers/wireguard.pdf, section 6).
const (
	rekeyAfter       = 120 * time.Second
	rejectAfter      = 180 * time.Second
	rekeyTimeout     = 5 * time.Second
	keepaliveTimeout = 10 * time.Second
)

type message struct {
	kind    string // initiation, response, data
	bytes   uint64
	session *session
}

// session is one pair of keys, which both ends share.
type session struct {
	began  time.Duration
	caller *modelPeer
}

// modelPeer is one end.
type modelPeer struct {
	model *model
	other *modelPeer
	// every is the persistent keepalive, lateness how late it fires at most, as a
	// factor.
	every    time.Duration
	lateness float64

	persistent, passive, hearing, retry modelTimer
	needAnother, lastMinute             bool
	current, next                       *session
	lastCall, called                    time.Duration
	staged                              []uint64 // sizes of messages that wait for a session

	sent, received uint64
	handshake      time.Duration
	// fired are the times at which the persistent timer sent a keepalive (where the
	// session was too old, it made a handshake), left those at which anything was
	// sent.
	fired, left []time.Duration
}

// modelTimer is set anew by counting up its turn: events of earlier turns do
// nothing.
type modelTimer struct {
	turn    int
	pending bool
}

type event struct {
	at    time.Duration
	order int
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int      { return len(q) }
func (q eventQueue) Swap(a, b int) { q[a], q[b] = q[b], q[a] }
func (q *eventQueue) Push(e any)   { *q = append(*q, e.(event)) }
func (q eventQueue) Less(a, b int) bool {
	return q[a].at < q[b].at || q[a].at == q[b].at && q[a].order < q[b].order
}

func (q *eventQueue) Pop() any {
	e := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return e
}

// model is two peers and the path between them.
type model struct {
	random *rand.Rand
	now    time.Duration
	queue  eventQueue
	order  int
	// loss is the share of messages lost, delay what one takes, and up to as much
	// again.
	loss  float64
	delay time.Duration
	a, b  *modelPeer
}

func newModel(random *rand.Rand) *model {
	m := &model{random: random, delay: 10 * time.Millisecond}
	m.a, m.b = &modelPeer{model: m, lateness: 1, lastCall: -time.Hour}, &modelPeer{model: m, lateness: 1, lastCall: -time.Hour}
	m.a.other, m.b.other = m.b, m.a
	return m
}

func (m *model) after(d time.Duration, do func()) {
	m.order++
	heap.Push(&m.queue, event{m.now + d, m.order, do})
}

// run lets time pass.
func (m *model) run(until time.Duration) {
	for len(m.queue) > 0 && m.queue[0].at <= until {
		e := heap.Pop(&m.queue).(event)
		m.now = e.at
		e.do()
	}
	m.now = until
}

func (m *model) jitter(most time.Duration) time.Duration {
	return time.Duration(m.random.Int64N(int64(most) + 1))
}

func (p *modelPeer) arm(t *modelTimer, d time.Duration, fire func()) {
	t.turn++
	t.pending = true
	turn := t.turn
	p.model.after(d, func() {
		if t.pending && t.turn == turn {
			t.pending = false
			fire()
		}
	})
}

// turnOn sets the interval from 0.
func (p *modelPeer) turnOn(every time.Duration) {
	p.every = every
	if every > 0 {
		p.send(keepaliveBytes)
	}
}

// state is what wg would show.
func (p *modelPeer) state() vpn.PeerState {
	s := vpn.PeerState{PublicKey: alice, Keepalive: p.every, ReceivedBytes: p.received, SentBytes: p.sent}
	if p.handshake > 0 {
		s.LastHandshake = epoch.Add(p.handshake)
	}
	return s
}

var epoch = time.Unix(1_790_000_000, 0)

// traversal is what every authenticated packet does.
func (p *modelPeer) traversal() {
	if p.every <= 0 {
		return
	}
	late := 1 + (p.lateness-1)*p.model.random.Float64()
	p.arm(&p.persistent, time.Duration(late*float64(p.every)), func() {
		if p.live() {
			p.fired = append(p.fired, p.model.now)
		}
		if len(p.staged) == 0 {
			p.send(keepaliveBytes)
		}
	})
}

// transmit puts a message on the wire.
func (p *modelPeer) transmit(m message) {
	p.traversal()
	p.passive.pending = false
	p.sent += m.bytes
	p.left = append(p.left, p.model.now)
	if p.model.random.Float64() < p.model.loss {
		return
	}
	p.model.after(p.model.delay+p.model.jitter(p.model.delay), func() { p.other.receive(m) })
}

// send sends a message of a session, or has it wait for one.
func (p *modelPeer) send(bytes uint64) {
	if !p.live() {
		if len(p.staged) < 128 {
			p.staged = append(p.staged, bytes)
		}
		p.call(false)
		return
	}
	p.transmit(message{"data", bytes, p.current})
	if bytes != keepaliveBytes && !p.hearing.pending {
		p.arm(&p.hearing, keepaliveTimeout+rekeyTimeout+p.model.jitter(time.Second/3), func() { p.call(false) })
	}
	if p.current.caller == p && p.model.now-p.current.began > rekeyAfter {
		p.call(false)
	}
}

// live tells whether there is a session to send with.
func (p *modelPeer) live() bool {
	return p.current != nil && p.model.now-p.current.began < rejectAfter
}

// call begins a handshake.
func (p *modelPeer) call(again bool) {
	if !again {
		p.called = p.model.now
	}
	if p.model.now-p.lastCall < rekeyTimeout {
		return
	}
	p.lastCall = p.model.now
	p.transmit(message{kind: "initiation", bytes: initiationBytes})
	p.arm(&p.retry, rekeyTimeout+p.model.jitter(time.Second/3), func() {
		if p.model.now-p.called < 90*time.Second {
			p.call(true)
		} else {
			p.staged = nil
		}
	})
}

func (p *modelPeer) receive(m message) {
	p.received += m.bytes
	p.traversal()
	p.hearing.pending = false
	switch m.kind {
	case "initiation":
		p.lastCall = p.model.now
		p.next = &session{began: p.model.now, caller: p.other}
		p.transmit(message{"response", responseBytes, p.next})
	case "response":
		p.retry.pending = false
		p.current, p.next = m.session, nil
		p.handshake, p.lastMinute = p.model.now, false
		if len(p.staged) == 0 {
			p.staged = []uint64{keepaliveBytes}
		}
		p.flush()
	case "data":
		p.receiveData(m)
	}
}

func (p *modelPeer) receiveData(m message) {
	if m.session == p.next && p.next != nil {
		p.current, p.next = p.next, nil
		p.retry.pending = false
		p.handshake, p.lastMinute = p.model.now, false
		p.flush()
	}
	if c := p.current; c != nil && c.caller == p && !p.lastMinute && p.model.now-c.began > rejectAfter-keepaliveTimeout-rekeyTimeout {
		p.lastMinute = true
		p.call(false)
	}
	if m.bytes == keepaliveBytes {
		return
	}
	if p.passive.pending {
		p.needAnother = true
		return
	}
	p.answerLater()
}

// answerLater sends a keepalive after 10 s unless something else is sent before.
func (p *modelPeer) answerLater() {
	p.arm(&p.passive, keepaliveTimeout, func() {
		p.send(keepaliveBytes)
		if p.needAnother {
			p.needAnother = false
			p.answerLater()
		}
	})
}

func (p *modelPeer) flush() {
	waiting := p.staged
	p.staged = nil
	for _, bytes := range waiting {
		p.send(bytes)
	}
}

// talk sends data now and then: messages come in bursts, and with replies if
// asked for.
func (p *modelPeer) talk(pause time.Duration, replies bool) {
	p.model.after(p.model.jitter(2*pause), func() {
		for range 1 + p.model.random.IntN(3) {
			p.send(keepaliveBytes + 16*uint64(1+p.model.random.IntN(90)))
			if replies {
				p.model.after(5*p.model.delay, func() { p.other.send(keepaliveBytes + 16*uint64(1+p.model.random.IntN(90))) })
			}
		}
		p.talk(pause, replies)
	})
}
