package natmodel

import (
	"fmt"
	"time"
)

// Chain is a row of NATs between inside and outside, innermost first. An empty
// chain is an open path. Like a NAT, it is not safe for concurrent use.
type Chain []*NAT

// NewChain makes a NAT of each config, innermost first.
func NewChain(configs ...Config) (Chain, error) {
	chain := make(Chain, 0, len(configs))
	for i, c := range configs {
		n, err := New(c)
		if err != nil {
			return nil, fmt.Errorf("NAT %d of the chain: %w", i, err)
		}
		chain = append(chain, n)
	}
	return chain, nil
}

// Outbound passes a packet through all NATs, innermost first. Where one drops
// it, those before it have seen it and those after it have not.
func (c Chain) Outbound(now time.Duration, p Packet) (Packet, bool) {
	for _, n := range c {
		var ok bool
		if p, ok = n.Outbound(now, p); !ok {
			return Packet{}, false
		}
	}
	return p, true
}

// Inbound passes a packet through all NATs, outermost first.
func (c Chain) Inbound(now time.Duration, p Packet) (Packet, bool) {
	for i := len(c) - 1; i >= 0; i-- {
		var ok bool
		if p, ok = c[i].Inbound(now, p); !ok {
			return Packet{}, false
		}
	}
	return p, true
}

// Timers returns the shortest timer of the chain for each state of traffic, and
// false for an empty chain.
func (c Chain) Timers() (Timers, bool) {
	if len(c) == 0 {
		return Timers{}, false
	}
	shortest := c[0].cfg.Timers
	for _, n := range c[1:] {
		shortest = shortest.Shortest(n.cfg.Timers)
	}
	return shortest, true
}
