package probe

import (
	"container/heap"
	"time"
)

// timer is something to run at a time. Timers of the same time run in the
// order in which they were added.
type timer struct {
	at  time.Duration
	seq int
	run func()
}

type timerQueue struct {
	items []timer
	seq   int
}

func (q *timerQueue) add(at time.Duration, run func()) {
	q.seq++
	heap.Push(q, timer{at, q.seq, run})
}

// lateness returns by how much the first timer is overdue.
func (q *timerQueue) lateness(now time.Duration) time.Duration {
	if len(q.items) == 0 {
		return 0
	}
	return max(now-q.items[0].at, 0)
}

func (q *timerQueue) Len() int { return len(q.items) }
func (q *timerQueue) Less(i, j int) bool {
	a, b := q.items[i], q.items[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (q *timerQueue) Swap(i, j int) { q.items[i], q.items[j] = q.items[j], q.items[i] }
func (q *timerQueue) Push(x any)    { q.items = append(q.items, x.(timer)) }
func (q *timerQueue) Pop() any {
	last := len(q.items) - 1
	t := q.items[last]
	q.items[last] = timer{}
	q.items = q.items[:last]
	return t
}
