package reflector

import (
	"container/heap"
	"time"
)

// schedule holds orders by the time of their next departure.
type schedule interface {
	// push adds o at o.due.
	push(o *order)
	// popDue takes out an order that is due at now, the earliest first, or nil.
	popDue(now time.Duration) *order
	// next returns when the earliest order is due.
	next() (due time.Duration, ok bool)
}

// heapSchedule is a schedule for some 100,000 orders.
type heapSchedule struct{ orders orderHeap }

func (s *heapSchedule) push(o *order) { heap.Push(&s.orders, o) }

func (s *heapSchedule) popDue(now time.Duration) *order {
	if len(s.orders) == 0 || s.orders[0].due > now {
		return nil
	}
	return heap.Pop(&s.orders).(*order) // push takes nothing else
}

func (s *heapSchedule) next() (time.Duration, bool) {
	if len(s.orders) == 0 {
		return 0, false
	}
	return s.orders[0].due, true
}

type orderHeap []*order

func (h orderHeap) Len() int           { return len(h) }
func (h orderHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h orderHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *orderHeap) Push(x any)        { *h = append(*h, x.(*order)) } // heapSchedule pushes nothing else

func (h *orderHeap) Pop() any {
	old := *h
	last := len(old) - 1
	o := old[last]
	old[last] = nil
	*h = old[:last]
	return o
}
