package probe

import "time"

// SetClocks gives a prober the clocks of a machine that can sleep.
func (p *Prober) SetClocks(monotonic, sleep func() time.Duration) {
	p.clocks = &clocks{monotonic, sleep}
}
