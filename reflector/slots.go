package reflector

import "time"

const (
	// slotWidth is the resolution of reservations.
	slotWidth = time.Second / 4
	// slotWindow is how many neighbouring slots are held below a limit together:
	// any second touches five slots of a quarter second, so no second anywhere
	// sees more than the limit.
	slotWindow = int(time.Second/slotWidth) + 1
	// maxSlotLimit is the largest limit that a slot can count to.
	maxSlotLimit = 1<<16 - 1
)

// slots counts the packets due to each group, a quarter second at a time.
// Counts stay until their time is over, as a packet that has just left still
// counts against those about to. It is a sketch for each slot, so its memory is
// bounded by the longest delay, however many groups there are.
type slots struct {
	sketch
	counts map[int64][]uint16
	spare  [][]uint16 // cleared
	oldest int64
}

// slotCells is how many cells a slot has: so many that of the groups that could
// fill theirs at the same time, with that many orders in memory, a small share
// does.
func slotCells(orders int) int { return min(max(orders/128, 1<<9), 1<<11) }

func newSlots(orders int) *slots {
	return &slots{sketch: newSketch(slotCells(orders)), counts: make(map[int64][]uint16)}
}

func slotOf(due time.Duration) int64 { return int64(due / slotWidth) }

// claim is a number of packets due to a group.
type claim struct {
	group group
	due   time.Duration
	count int
	limit int // packets in any second, or Unlimited
}

// reserve takes all claims, or none where one is above its limit. That one is
// returned.
func (s *slots) reserve(claims []claim) (full claim, ok bool) {
	for i, c := range claims {
		if c.limit == Unlimited {
			continue
		}
		at := s.find(c.group)
		if !s.add(c, at) || !s.fits(c, at) {
			s.release(claims[:i+1])
			return c, false
		}
	}
	return claim{}, true
}

// release gives back what reserve took.
func (s *slots) release(claims []claim) {
	for _, c := range claims {
		if c.limit != Unlimited {
			s.give(c)
		}
	}
}

// add counts a claim, and says whether there was room to count it.
func (s *slots) add(c claim, at cells) bool {
	slot := slotOf(c.due)
	table := s.counts[slot]
	if table == nil {
		if n := len(s.spare); n > 0 {
			table, s.spare = s.spare[n-1], s.spare[:n-1]
		} else {
			table = make([]uint16, rows*s.size)
		}
		s.counts[slot] = table
	}
	fits := true
	for _, i := range at {
		if int(table[i])+c.count > maxSlotLimit {
			fits = false
		}
	}
	for _, i := range at {
		table[i] += uint16(c.count) //nolint:gosec // where it doesn't fit, give wraps it back
	}
	return fits
}

// give takes a claim's counts back.
func (s *slots) give(c claim) {
	table := s.counts[slotOf(c.due)]
	for _, i := range s.find(c.group) {
		table[i] -= uint16(c.count) //nolint:gosec // as it was added
	}
}

// count returns the packets due in a slot to the group of these cells.
func (s *slots) count(slot int64, at cells) int {
	table := s.counts[slot]
	if table == nil {
		return 0
	}
	least := uint16(maxSlotLimit)
	for _, i := range at {
		least = min(least, table[i])
	}
	return int(least)
}

// fits says whether every window with c's slot in it is within c's limit.
func (s *slots) fits(c claim, at cells) bool {
	first := slotOf(c.due) - int64(slotWindow) + 1
	var window [slotWindow]int
	sum := 0
	for i := range 2*slotWindow - 1 {
		n := s.count(first+int64(i), at)
		sum += n - window[i%slotWindow]
		window[i%slotWindow] = n
		if i >= slotWindow-1 && sum > c.limit {
			return false
		}
	}
	return true
}

// expire forgets what can't share a second with now any more.
func (s *slots) expire(now time.Duration) {
	keep := slotOf(now) - int64(slotWindow)
	if keep-s.oldest > int64(len(s.counts)) { // after an idle time it is shorter to look at all
		for slot := range s.counts {
			if slot < keep {
				s.drop(slot)
			}
		}
		s.oldest = max(s.oldest, keep)
	}
	for ; s.oldest < keep; s.oldest++ {
		s.drop(s.oldest)
	}
}

func (s *slots) drop(slot int64) {
	if table := s.counts[slot]; table != nil {
		clear(table)
		s.spare = append(s.spare, table)
		delete(s.counts, slot)
	}
}
