package reflector

import "time"

const (
	// slotWidth is the resolution of reservations.
	slotWidth = time.Second / 4
	// slotWindow is how many neighbouring slots are held below a limit together:
	// any second touches five slots of a quarter second, so no second anywhere
	// sees more than the limit.
	slotWindow = int(time.Second/slotWidth) + 1
)

// slots counts the packets due to each group, a quarter second at a time.
// Counts stay until their time is over, as a packet that has just left still
// counts against those about to.
type slots struct {
	counts map[int64]map[group]int
	oldest int64
}

func newSlots() *slots { return &slots{counts: make(map[int64]map[group]int)} }

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
		s.add(c, c.count)
		if !s.fits(c) {
			for _, taken := range claims[:i+1] {
				s.add(taken, -taken.count)
			}
			return c, false
		}
	}
	return claim{}, true
}

func (s *slots) add(c claim, n int) {
	slot := slotOf(c.due)
	groups := s.counts[slot]
	if groups == nil {
		groups = make(map[group]int)
		s.counts[slot] = groups
	}
	if groups[c.group] += n; groups[c.group] == 0 {
		delete(groups, c.group)
	}
	if len(groups) == 0 {
		delete(s.counts, slot)
	}
}

// fits says whether every window with c's slot in it is within c's limit.
func (s *slots) fits(c claim) bool {
	if c.limit == Unlimited {
		return true
	}
	first := slotOf(c.due) - int64(slotWindow) + 1
	sum := 0
	for i := range 2*slotWindow - 1 {
		slot := first + int64(i)
		sum += s.counts[slot][c.group]
		if i >= slotWindow {
			sum -= s.counts[slot-int64(slotWindow)][c.group]
		}
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
				delete(s.counts, slot)
			}
		}
		s.oldest = max(s.oldest, keep)
	}
	for ; s.oldest < keep; s.oldest++ {
		delete(s.counts, s.oldest)
	}
}
