package reflector

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// meterCells is the size of a meter. Two groups share a cell by chance only,
// 1 in 65,536, and not for longer than the process lives.
const meterCells = 1 << 16

// meter limits the rate of many groups in constant memory. It is safe for
// concurrent use. Each cell holds a
// virtual clock that a packet advances by the rate's interval and that may run
// ahead of time by a second's worth: a token bucket in eight bytes. Where two
// groups meet in a cell they share its rate; nothing an attacker sends can push
// another group's state out.
type meter struct {
	interval time.Duration // between packets at the limit; 0: no limit
	seed     maphash.Seed
	cells    []atomic.Int64 // monotonic times in nanoseconds
}

// meterBurst is how much of the rate may come at once.
const meterBurst = time.Second

// newMeter returns a meter for a rate in packets a second, or Unlimited.
func newMeter(rate int) *meter {
	if rate <= 0 {
		return &meter{}
	}
	return &meter{
		interval: time.Second / time.Duration(rate),
		seed:     maphash.MakeSeed(),
		cells:    make([]atomic.Int64, meterCells),
	}
}

// allow counts a packet of g unless it is above the rate. Now is monotonic and
// positive.
func (m *meter) allow(g group, now time.Duration) bool {
	if m.interval == 0 {
		return true
	}
	cell := &m.cells[maphash.Comparable(m.seed, g)%meterCells]
	for {
		before := cell.Load()
		clock := max(time.Duration(before), now)
		if clock-now > meterBurst-m.interval {
			return false
		}
		if cell.CompareAndSwap(before, int64(clock+m.interval)) {
			return true
		}
	}
}
