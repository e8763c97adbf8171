package reflector

import (
	"math/bits"
	"time"
)

// schedule holds orders by the time of their next departure.
type schedule interface {
	// push adds an order at its due time, seen from now.
	push(now time.Duration, r ref)
	// popDue takes out an order that is due at now, the earliest first, or 0.
	popDue(now time.Duration) ref
	// next returns a time at which to look again: no order is due before it, and
	// it is after now where none is due now.
	next(now time.Duration) (due time.Duration, ok bool)
	// drain takes out every order.
	drain(each func(ref))
}

// The wheel's sizes: ticks of about a millisecond, a thousand of them in a
// block of about a second, and blocks for more than maxDelay.
const (
	tickBits   = 20 // of nanoseconds
	fineBits   = 10
	fineSize   = 1 << fineBits
	coarseSize = 1 << 12
)

// wheel is a hierarchical timing wheel: to add an order, or to take one out,
// costs the same with a hundred and with a million. Orders of the ticks that
// have come wait in a heap, so that each leaves at its exact time and not at
// its tick's.
type wheel struct {
	book   *book
	count  int
	near   []nearOrder // a heap by due: all of the ticks before tick
	tick   int64       // the first that isn't in near; its block is in fine
	fine   ring
	coarse ring
}

type nearOrder struct {
	due time.Duration
	ref ref
}

func newWheel(b *book) *wheel {
	return &wheel{book: b, fine: newRing(fineSize), coarse: newRing(coarseSize)}
}

func tickOf(at time.Duration) int64 { return int64(at) >> tickBits }

// startOf returns when a tick begins.
func startOf(tick int64) time.Duration { return time.Duration(tick << tickBits) }

func (w *wheel) push(now time.Duration, r ref) {
	w.advance(now)
	w.count++
	w.place(r)
}

// place puts an order where its tick belongs.
func (w *wheel) place(r ref) {
	due := w.book.at(r).due()
	switch tick := tickOf(due); {
	case tick < w.tick:
		w.pushNear(nearOrder{due, r})
	case tick>>fineBits == w.tick>>fineBits:
		w.fine.add(w.book, tick, r)
	default:
		w.coarse.add(w.book, tick>>fineBits, r)
	}
}

// advance brings the ticks up to now's, and with it, into near.
func (w *wheel) advance(now time.Duration) {
	end := tickOf(now) + 1
	if w.count == len(w.near) { // nothing beyond: no block to look through
		w.tick = max(w.tick, end)
		return
	}
	for w.tick < end {
		blockEnd := (w.tick>>fineBits + 1) << fineBits
		for limit := min(end, blockEnd); ; {
			tick, ok := w.fine.first(w.tick, limit)
			if !ok {
				w.tick = limit
				break
			}
			w.tick = tick + 1
			for r := w.fine.take(tick); r != 0; {
				o := w.book.at(r)
				next := o.next
				w.pushNear(nearOrder{o.due(), r})
				r = next
			}
		}
		if w.tick != blockEnd {
			return
		}
		// The next block that has orders, or now's.
		block, ok := w.coarse.first(w.tick>>fineBits, w.tick>>fineBits+coarseSize)
		if last := (end - 1) >> fineBits; !ok || block > last {
			w.tick = max(w.tick, last<<fineBits)
			if !ok || block > w.tick>>fineBits {
				continue
			}
		}
		w.tick = max(w.tick, block<<fineBits)
		for r := w.coarse.take(block); r != 0; {
			next := w.book.at(r).next
			w.place(r)
			r = next
		}
	}
}

func (w *wheel) popDue(now time.Duration) ref {
	w.advance(now)
	if len(w.near) == 0 || w.near[0].due > now {
		return 0
	}
	w.count--
	return w.popNear()
}

func (w *wheel) next(now time.Duration) (time.Duration, bool) {
	if w.count == 0 {
		return 0, false
	}
	w.advance(now)
	if len(w.near) > 0 { // those are before all others
		return w.near[0].due, true
	}
	block := w.tick >> fineBits
	if tick, ok := w.fine.first(w.tick, (block+1)<<fineBits); ok {
		return startOf(tick), true
	}
	block, _ = w.coarse.first(block+1, block+coarseSize)
	return startOf(block << fineBits), true
}

// drain takes out every order, in no order.
func (w *wheel) drain(each func(ref)) {
	all := make([]ref, 0, w.count)
	for _, n := range w.near {
		all = append(all, n.ref)
	}
	for _, ring := range []*ring{&w.fine, &w.coarse} {
		for i := range ring.heads {
			for r := ring.heads[i]; r != 0; r = w.book.at(r).next {
				all = append(all, r)
			}
			ring.heads[i] = 0
		}
		clear(ring.used)
	}
	w.near, w.count = nil, 0
	for _, r := range all {
		each(r)
	}
}

// ring is a row of buckets, one for each of the next so many ticks or blocks.
type ring struct {
	heads []ref
	used  []uint64 // a bit for each bucket
}

func newRing(size int) ring { return ring{heads: make([]ref, size), used: make([]uint64, size/64)} }

func (g *ring) add(b *book, n int64, r ref) {
	i := int(n) & (len(g.heads) - 1)
	b.at(r).next = g.heads[i]
	g.heads[i] = r
	g.used[i/64] |= 1 << (i % 64)
}

// take empties a bucket and returns its first order.
func (g *ring) take(n int64) ref {
	i := int(n) & (len(g.heads) - 1)
	r := g.heads[i]
	g.heads[i] = 0
	g.used[i/64] &^= 1 << (i % 64)
	return r
}

// first returns the first bucket from n on, below end, that has orders. The two
// are at most a turn apart.
func (g *ring) first(n, end int64) (int64, bool) {
	for n < end {
		i := int(n) & (len(g.heads) - 1)
		if word := g.used[i/64] >> (i % 64); word != 0 {
			n += int64(bits.TrailingZeros64(word))
			return n, n < end
		}
		n += int64(64 - i%64)
	}
	return 0, false
}

func (w *wheel) pushNear(n nearOrder) {
	w.near = append(w.near, n)
	for i := len(w.near) - 1; i > 0; {
		parent := (i - 1) / 2
		if w.near[parent].due <= w.near[i].due {
			break
		}
		w.near[parent], w.near[i] = w.near[i], w.near[parent]
		i = parent
	}
}

func (w *wheel) popNear() ref {
	first, last := w.near[0].ref, len(w.near)-1
	w.near[0] = w.near[last]
	w.near = w.near[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && w.near[child+1].due < w.near[child].due {
			child++
		}
		if w.near[i].due <= w.near[child].due {
			break
		}
		w.near[i], w.near[child] = w.near[child], w.near[i]
		i = child
	}
	return first
}
