package analysis

import "math"

// Path is what the renewal model knows of a path and of the tunnel on it.
type Path struct {
	// Oneway, Exchange and Stream are the lifetimes of a mapping, in seconds.
	Oneway, Exchange, Stream float64
	// Loss is the probability, 0 to 1, that a keepalive, or the handshake it
	// starts, is lost. Losses are independent.
	Loss float64
	// Lateness is how late keepalives leave, as a factor of the interval.
	Lateness float64
	// SlackS is taken off each lifetime, in seconds.
	SlackS float64
}

// Reachability returns the expected share of time, 0 to 1, for which a peer can
// reach this side in the long run, when a keepalive leaves each keepaliveS
// seconds and the tunnel is idle otherwise. 0 or less means no keepalives, and
// is never reachable.
//
// The model. Keepalives are due each τ = lateness × K. Each is lost, before the
// gateway, with probability p; else it arrives. So the silence from one
// arrival to the next is g·τ with probability p^(g-1)·(1-p), g = 1, 2, …. The
// mapping is in one of three regimes and dies when a silence exceeds the
// lifetime L of its present one. A peer reaches this side exactly while a
// mapping lives, so min(g·τ, L) of each silence.
//
// Every n-th keepalive, n = ⌈120 s / τ⌉ after the last completed handshake, is
// due to start a handshake; it completes with the first arrival from then on.
// What an arrival makes of the mapping:
//
//	                      plain arrival      arrival with handshake
//	oneway, alive         oneway             exchange
//	exchange, alive       stream             stream
//	stream, alive         stream             stream
//	dead                  oneway (anew)      exchange (anew)
//
//	                   in time
//	     ┌──────────┐ ────────▶ ┌────────┐ ──┐ in time
//	     │ exchange │           │ stream │ ◀─┘
//	     └──────────┘ ◀┐        └────────┘
//	      too late │   │ handshake  │ too late (with a handshake: exchange)
//	               ▼   │            │
//	              ┌────────┐ ◀──────┘
//	              │ oneway │ ──┐ in time or too late
//	              └────────┘ ◀─┘
//
// It errs on the safe side: a packet lost behind the gateway would have
// refreshed the mapping, WireGuard repeats lost initiations after 5 s, and a
// peer may guess right where a mapping that died comes back on the same port.
//
// The solution. Handshakes are renewals: all that matters of the past is
// whether one leaves an exchange or a stream mapping behind. From each of the
// two, a pass over the n-1 plain keepalives gives the expected number of
// arrivals in each regime and the odds of how the next handshake finds the mapping.
// The long run from a fresh handshake weighs the two by the balance of those
// odds, and the result is the mean reachable time over the mean time from
// arrival to arrival.
func (path Path) Reachability(keepaliveS int) float64 {
	if keepaliveS <= 0 || path.Loss >= 1 {
		return 0
	}
	tau := path.Lateness * float64(keepaliveS)
	n := max(1, int(math.Ceil(rekeyAfterS/tau-epsilon)))
	return path.reachability(tau, tau, n)
}

// handshakeRetryS is how often WireGuard sends an initiation that found no
// answer: REKEY-TIMEOUT with its jitter of up to a third of a second.
const handshakeRetryS = 5.334

// reachabilityLong is Reachability for intervals of rejectAfterS and more,
// where each keepalive is a handshake and what is lost is sent again after
// handshakeRetryS.
func (path Path) reachabilityLong(keepaliveS int) float64 {
	if path.Loss >= 1 {
		return 0
	}
	return path.reachability(path.Lateness*float64(keepaliveS), handshakeRetryS, 1)
}

// epsilon forgives what binary fractions do to sums of decimal ones.
const epsilon = 1e-9

// regime numbers the states of the model.
type regime int

const (
	oneway regime = iota
	exchange
	stream
	regimes
)

// reachability solves the model for silences of first + (g-1)·step seconds and
// a handshake due with each n-th keepalive.
func (path Path) reachability(first, step float64, n int) float64 {
	var life [regimes]float64 // net of slack
	var holds [regimes]int    // the largest g whose silence the mapping survives
	for r, l := range map[regime]float64{oneway: path.Oneway, exchange: path.Exchange, stream: path.Stream} {
		life[r] = max(0, l-path.SlackS)
		holds[r] = survived(life[r], first, step)
	}

	// Arrivals in each regime per handshake, and the odds that the next
	// handshake finds the mapping dead or oneway, by what the last one left.
	afterExchange, _, gained := path.cycle(exchange, holds, n)
	afterStream, lost, _ := path.cycle(stream, holds, n)

	// Balance: what leaves exchange for stream is what comes back.
	wExchange, wStream := lost, gained
	if gained == 0 { // a fresh handshake never leads to a stream
		wExchange, wStream = 1, 0
	}

	var reachable, arrivals float64
	for r := range regimes {
		visits := wExchange*afterExchange[r] + wStream*afterStream[r]
		arrivals += visits
		reachable += visits * path.meanReachable(life[r], holds[r], first, step)
	}
	p := path.Loss
	meanSilence := first + step*p/(1-p)
	return min(1, reachable/(arrivals*meanSilence))
}

// cycle follows the mapping from a handshake that left it in the given regime
// to the next one. It returns the expected number of arrivals in each regime,
// the handshake's own included, and the probabilities that the next handshake
// leaves an exchange and a stream mapping. They are 1 together; both are given
// because a difference from 1 would lose the tiny ones.
func (path Path) cycle(start regime, holds [regimes]int, n int) (arrivals [regimes]float64, toExchange, toStream float64) {
	p := path.Loss
	weight := make([][regimes]float64, n) // by keepalives since the handshake
	weight[0][start] = 1
	for at := range n {
		for r := range regimes {
			w := weight[at][r]
			if w == 0 {
				continue
			}
			arrivals[r] += w
			silence := w * (1 - p) // probability of reaching here and of silence g
			for g := 1; at+g < n; g++ {
				next := oneway
				if g <= holds[r] && r != oneway {
					next = stream
				}
				weight[at+g][next] += silence
				silence *= p
			}
			// The rest arrives when a handshake is due, after due keepalives or more.
			due := n - at
			rest := w * math.Pow(p, float64(due-1))
			if r == oneway || holds[r] < due {
				toExchange += rest
			} else {
				late := w * math.Pow(p, float64(holds[r]))
				toExchange += late
				toStream += rest - late
			}
		}
	}
	return arrivals, toExchange, toStream
}

// meanReachable returns the expected time, in seconds, for which a mapping
// lives between one arrival and the next.
func (path Path) meanReachable(life float64, holds int, first, step float64) float64 {
	p := path.Loss
	var sum float64
	odds := 1 - p
	for g := 1; g <= holds && odds > 1e-18; g++ {
		sum += odds * (first + float64(g-1)*step)
		odds *= p
	}
	return sum + math.Pow(p, float64(holds))*life
}

// survived returns the largest g >= 0 for which first + (g-1)·step is at most life.
func survived(life, first, step float64) int {
	if life+epsilon < first {
		return 0
	}
	return 1 + int((life-first+epsilon)/step)
}
