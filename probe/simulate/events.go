package simulate

import (
	"cmp"
	"container/heap"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

// place is where a packet gets to next.
type place int

const (
	atNATsOutbound place = iota // the inside of the innermost NAT
	atNATsInbound               // the outside of the outermost NAT
	atClient
	atServer       // through the NATs
	atServerAcross // from another place outside
)

// event is a packet under way.
type event struct {
	at    time.Duration
	place place
	p     natmodel.Packet
	id    uint64 // what is drawn for this packet depends on
	seq   uint64
}

// queue is a heap of events by time. Events of the same moment are ordered by
// flow, and in a flow as they were sent, so that the order doesn't depend on
// which goroutine was first.
type queue []*event

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	if a.at != b.at {
		return a.at < b.at
	}
	return cmp.Or(
		cmp.Compare(a.place, b.place),
		a.p.Src.Compare(b.p.Src),
		a.p.Dst.Compare(b.p.Dst),
		cmp.Compare(a.seq, b.seq),
	) < 0
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(*event)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}

// schedule puts a packet on its way. The caller holds n.mu.
func (n *Network) schedule(in time.Duration, to place, p natmodel.Packet, id uint64) {
	n.seq++
	e := &event{at: n.now() + in, place: to, p: p, id: id, seq: n.seq}
	heap.Push(&n.queue, e)
	if n.queue[0] == e && !n.running {
		n.arm()
	}
}

// arm sets the timer to the next event. The caller holds n.mu.
func (n *Network) arm() {
	if len(n.queue) == 0 || n.closed {
		return
	}
	in := n.queue[0].at - n.now()
	if n.timer == nil {
		n.timer = time.AfterFunc(in, n.run)
		return
	}
	n.timer.Reset(in)
}

// run deals with all events that are due. The timer calls it; no two of
// its calls work at the same time.
func (n *Network) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running || n.closed {
		return
	}
	n.running = true
	defer func() {
		n.running = false
		n.arm()
		n.idle.Broadcast()
	}()
	for !n.closed && len(n.queue) > 0 && n.queue[0].at <= n.now() {
		n.step(heap.Pop(&n.queue).(*event))
	}
}
