package reflector

import "hash/maphash"

// rows is how many cells each group has in a sketch. Its count is the least of
// them.
const rows = 2

// sketch finds the cells of groups in tables of a fixed size (a count-min
// sketch, Cormode and Muthukrishnan 2005). A group's count is never told too
// low; it is told too high where all its cells are shared with busier groups.
// Who shares whose cells is decided by random seeds, so nobody can choose a
// victim, and no number of groups takes more memory or pushes another out.
type sketch struct {
	seeds [rows]maphash.Seed
	size  uint64 // cells of a row, a power of two
}

// cells are a group's places, one in each row.
type cells [rows]uint32

func newSketch(size int) sketch {
	s := sketch{size: 1}
	for s.size < uint64(size) { //nolint:gosec // positive
		s.size *= 2
	}
	for i := range s.seeds {
		s.seeds[i] = maphash.MakeSeed()
	}
	return s
}

func (s *sketch) find(g group) (c cells) {
	for i, seed := range s.seeds {
		c[i] = uint32(uint64(i)*s.size + maphash.Comparable(seed, g)&(s.size-1)) //nolint:gosec // below rows * size
	}
	return c
}

// counts counts how many things each group has.
type counts struct {
	sketch
	table []uint32
}

// newCounts returns counts for so many things in total. At eight things for
// each cell of a row, a group that has none is told some tens of them at most,
// as long as no few groups have most.
func newCounts(total int) *counts {
	c := &counts{sketch: newSketch(max(total/4, 1<<10))}
	c.table = make([]uint32, rows*c.size)
	return c
}

func (c *counts) add(g group, n int) {
	for _, i := range c.find(g) {
		c.table[i] += uint32(n) //nolint:gosec // wraps back to what it was
	}
}

func (c *counts) of(g group) int {
	least := ^uint32(0)
	for _, i := range c.find(g) {
		least = min(least, c.table[i])
	}
	return int(least)
}
