package reflector

import (
	"math/bits"
	"time"
)

// Lateness counts copies by how much later than due they left.
type Lateness struct {
	// Upper are the upper ends of the ranges, included; what is later is in none.
	Upper []time.Duration
	// Count are the copies in each range: not later than its upper end, and later
	// than the one before.
	Count []uint64
	Sum   time.Duration
	Total uint64
}

// The ranges double from 64 µs to about 2 s, beyond maxLateness.
const (
	latenessFirst  = 64 * time.Microsecond
	latenessRanges = 16
)

type lateness struct {
	count [latenessRanges]uint64
	sum   time.Duration
	total uint64
}

func (l *lateness) observe(d time.Duration) {
	d = max(d, 0)
	if i := bits.Len64(uint64((d+latenessFirst-1)/latenessFirst - min(d, 1))); i < latenessRanges { //nolint:gosec // not negative
		l.count[i]++
	}
	l.sum += d
	l.total++
}

func (l *lateness) snapshot() Lateness {
	s := Lateness{Sum: l.sum, Total: l.total, Count: append([]uint64(nil), l.count[:]...)}
	for i := range latenessRanges {
		s.Upper = append(s.Upper, latenessFirst<<i)
	}
	return s
}
