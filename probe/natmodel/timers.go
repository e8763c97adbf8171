package natmodel

import "time"

// Timers are the four lifetimes of a mapping. Which one a packet starts depends
// on the traffic that the mapping has seen before that packet:
//
//	the packet that makes the mapping                       Solitary
//	a later packet, no reply seen before it                 Oneway
//	a later packet, a reply seen before it, flow young      Exchange
//	a later packet, a reply seen before it, flow older      Stream
//
// "Older" means that more than [Config.StreamAfter] has passed since the mapping
// was made. The first reply itself still starts Oneway: Linux and pf both look at
// what they had seen before the packet. All four are positive.
type Timers struct {
	Solitary, Oneway, Exchange, Stream time.Duration
}

// FlatTimers returns four equal timers.
func FlatTimers(d time.Duration) Timers {
	return Timers{Solitary: d, Oneway: d, Exchange: d, Stream: d}
}

// Shortest returns the smaller of each pair: what a path through both boxes
// keeps. It is exact where both agree on when a flow counts as a stream.
func (t Timers) Shortest(o Timers) Timers {
	return Timers{
		Solitary: min(t.Solitary, o.Solitary),
		Oneway:   min(t.Oneway, o.Oneway),
		Exchange: min(t.Exchange, o.Exchange),
		Stream:   min(t.Stream, o.Stream),
	}
}
