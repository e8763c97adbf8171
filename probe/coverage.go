package probe

import (
	"cmp"
	"slices"
	"time"
)

// coverage is the union of the silences of flows that lived. While any
// mapping sat idle and lived, the NAT did not lose its state. So an expiry is
// the timer's doing only where each moment of its silence is covered.
type coverage struct{ spans []span } // disjoint, ascending

type span struct{ from, to time.Duration }

func (c *coverage) add(from, to time.Duration) {
	if to <= from {
		return
	}
	i, _ := slices.BinarySearchFunc(c.spans, from, func(s span, t time.Duration) int { return cmp.Compare(s.to, t) })
	j := i
	for j < len(c.spans) && c.spans[j].from <= to {
		from = min(from, c.spans[j].from)
		to = max(to, c.spans[j].to)
		j++
	}
	c.spans = slices.Replace(c.spans, i, j, span{from, to})
}

// covers reports whether every moment from one time to another is covered.
func (c *coverage) covers(from, to time.Duration) bool {
	for _, s := range c.spans {
		if s.from <= from && to <= s.to {
			return true
		}
	}
	return false
}
