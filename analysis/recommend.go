package analysis

import (
	"math"

	"github.com/natprobe/natprobe/results"
)

const (
	// UsualKeepaliveS is the interval that WireGuard's documentation shows.
	UsualKeepaliveS = 25
	// MaxKeepaliveS is the longest interval that is recommended: one second
	// before each keepalive would bring a handshake, and more packets again.
	MaxKeepaliveS = rekeyAfterS - 1
	// LongKeepaliveS is offered beside it where mappings live long enough.
	LongKeepaliveS = 240

	// minUnreachable is the share of time for which being unreachable is
	// tolerated on a path however good: 9 s a day.
	minUnreachable = 1e-4
	// maxHandshakeTries is how often WireGuard sends an initiation before it
	// gives up: 90 s, one each 5 s.
	maxHandshakeTries = 18
)

// Recommend returns the interval for PersistentKeepalive on a path: the largest
// whole number K of seconds, 1 to [MaxKeepaliveS], for which
//
//	(a)       h·K + slack ≤ L(exchange): the first keepalive after a handshake
//	          finds the mapping alive;
//	(b) (m+1)·h·K + slack ≤ L(stream): and so does each later one after m were
//	          lost in a row;
//	(c) the expected share of time for which the peer can't reach this side,
//	    by [Path.Reachability], is at most u.
//
// The L are lower bounds: a lifetime counts as far as it is proven, also where
// no trial expired. h is the lateness of keepalives, slack the round-trip time
// plus 1 s, p the upper 95 % bound of the loss rate, u = max(1e-4, p/10), and m
// the smallest number from 1 with p^(m+1) ≤ u. [Tolerance] changes h, slack, m
// and u. A oneway lifetime that is not known counts as 0.
//
// Where the path keeps no state, with neither translation nor filtering, the
// answer is 0, off. Where exchange, stream or loss is not known, or no interval
// meets the rules, KeepaliveS is nil and FallbackS is the usual interval,
// or the largest one below that the bounds leave possible; the Reason says
// what is missing. Basis begins with the rule that forbids a longer interval:
// exchange (a), stream (b), reachability (c), rekey (the limit), or off or
// fallback.
//
// ToleratesLosses is how many keepalives in a row a warmed tunnel survives, m or
// more. MarginS is what the rule of the basis leaves of its lifetime; for
// reachability and rekey the smaller of (a) and (b).
func Recommend(in Input) results.Recommendation {
	rec := results.Recommendation{
		CostAt25:     CostPerDay(UsualKeepaliveS, in.Family),
		Alternatives: []results.Alternative{},
	}
	if err := in.Validate(); err != nil {
		return undecided(rec, newRules(Input{}), "the input is out of range: "+err.Error())
	}
	r := newRules(in)
	if in.needsNothing() {
		rec.KeepaliveS = new(int)
		rec.Off = true
		rec.Reachability, rec.ReachabilityAt25 = 1, 1
		rec.Basis = "off: neither translation nor filtering on the path"
		rec.Reason = "Nothing on your path keeps state: the peer reaches this side at any time, and PersistentKeepalive can stay off."
		return rec
	}
	rec.ReachabilityAt25 = r.path.Reachability(UsualKeepaliveS)
	if missing := r.missing(); missing != "" {
		return undecided(rec, r, missing)
	}
	k := r.longest()
	if k == 0 {
		return undecided(rec, r, r.unmet())
	}

	rule := r.binding(k)
	rec.KeepaliveS = &k
	rec.ToleratesLosses = r.tolerates(k)
	rec.Reachability = r.path.Reachability(k)
	rec.MarginS = r.margin(rule, k)
	rec.Basis = r.basis(rule, k)
	rec.Reason = r.reason(rule, k)
	rec.CostPerDay = CostPerDay(k, in.Family)
	rec.Alternatives = append(rec.Alternatives, r.alternatives(k)...)
	return rec
}

// undecided fills in the fallback and why there is no interval.
func undecided(rec results.Recommendation, r rules, why string) results.Recommendation {
	k := r.fallback()
	rec.FallbackS = &k
	rec.ToleratesLosses = r.tolerates(k)
	rec.Reachability = r.path.Reachability(k)
	rec.CostPerDay = CostPerDay(k, r.in.Family)
	rec.Basis = "fallback: the evidence does not suffice"
	rec.Reason = r.fallbackReason(k, why)
	return rec
}

// needsNothing says whether it is proven that nothing on the path keeps state.
// That every trial lived proves it only up to the longest gap.
func (in Input) needsNothing() bool {
	expires := in.Oneway.UpperS != nil || in.Exchange.UpperS != nil || in.Stream.UpperS != nil
	return in.Mapping == "none" && in.Filtering == "endpoint-independent" && !expires
}

// rules are the terms of the recommendation for one input.
type rules struct {
	in          Input
	path        Path
	losses      int     // m
	unreachable float64 // u
}

func newRules(in Input) rules {
	t := in.Tolerance
	if t.Lateness == 0 {
		t.Lateness = LatenessKernel
	}
	if t.Slack == 0 {
		t.Slack = DefaultSlack
	}
	r := rules{in: in, losses: t.Losses, unreachable: t.Unreachable}
	r.path = Path{
		Oneway:   in.Oneway.LowerS,
		Exchange: in.Exchange.LowerS,
		Stream:   in.Stream.LowerS,
		Loss:     1,
		Lateness: t.Lateness,
		SlackS:   (in.RTT + t.Slack).Seconds(),
	}
	if in.LossKnown {
		r.path.Loss = in.LossUpper95
	}
	p := r.path.Loss
	if r.unreachable == 0 {
		r.unreachable = max(minUnreachable, p/10)
	}
	if r.losses == 0 {
		r.losses = lossesInARow(p, r.unreachable)
	}
	return r
}

// lossesInARow returns the smallest m >= 1 with p^(m+1) <= u. It stops at 1,000,
// where p is nearly 1: no interval suits then.
func lossesInARow(p, u float64) int {
	m := 1
	for m < 1000 && math.Pow(p, float64(m+1)) > u*(1+epsilon) {
		m++
	}
	return m
}

// spanned returns the silence in seconds after which the (lost+1)-th keepalive
// arrives, slack included.
func (r rules) spanned(k, lost int) float64 {
	return float64(lost+1)*r.path.Lateness*float64(k) + r.path.SlackS
}

// fits says whether lost keepalives of interval k may be lost within life seconds.
func (r rules) fits(k, lost int, life float64) bool {
	return r.spanned(k, lost) <= life+epsilon
}

func (r rules) ruleA(k int) bool { return r.fits(k, 0, r.path.Exchange) }
func (r rules) ruleB(k int) bool { return r.fits(k, r.losses, r.path.Stream) }
func (r rules) ruleC(k int) bool {
	return r.path.Reachability(k) >= 1-r.unreachable-epsilon
}

// largest returns the largest k from 1 to MaxKeepaliveS that is ok, 0 where none is.
func largest(ok func(k int) bool) int {
	for k := MaxKeepaliveS; k >= 1; k-- {
		if ok(k) {
			return k
		}
	}
	return 0
}

func (r rules) longest() int {
	return largest(func(k int) bool { return r.ruleA(k) && r.ruleB(k) && r.ruleC(k) })
}

// rule names what forbids a longer interval.
type rule string

const (
	ruleExchange     rule = "exchange"
	ruleStream       rule = "stream"
	ruleReachability rule = "reachability"
	ruleRekey        rule = "rekey"
)

// binding returns the rule that forbids k+1.
func (r rules) binding(k int) rule {
	switch {
	case k >= MaxKeepaliveS:
		return ruleRekey
	case !r.ruleA(k + 1):
		return ruleExchange
	case !r.ruleB(k + 1):
		return ruleStream
	default:
		return ruleReachability
	}
}

// margin returns what is left under the lifetime that binds, in seconds.
func (r rules) margin(by rule, k int) float64 {
	a := r.path.Exchange - r.spanned(k, 0)
	b := r.path.Stream - r.spanned(k, r.losses)
	switch by {
	case ruleExchange:
		return a
	case ruleStream:
		return b
	default:
		return min(a, b)
	}
}

// tolerates returns how many keepalives in a row a warmed tunnel survives.
func (r rules) tolerates(k int) int {
	step := r.path.Lateness * float64(k)
	return max(0, survived(r.path.Stream-r.path.SlackS, step, step)-1)
}

// alternatives returns the intervals that others might choose over k.
func (r rules) alternatives(k int) []results.Alternative {
	var list []results.Alternative
	add := func(name string, interval, losses int, reachability float64, why string) {
		list = append(list, results.Alternative{
			Name: name, KeepaliveS: interval, ToleratesLosses: losses, Reachability: reachability,
			CostPerDay: CostPerDay(interval, r.in.Family), Why: why,
		})
	}

	strict := largest(func(i int) bool {
		return r.fits(i, 1, r.path.Exchange) && r.fits(i, r.losses+1, r.path.Stream) && r.ruleC(i)
	})
	if strict > 0 && strict < k {
		add("stricter", strict, r.tolerates(strict), r.path.Reachability(strict),
			"a tunnel survives the loss of its first keepalive after a handshake too, and one loss more later")
	}

	thrifty := largest(func(i int) bool { return r.ruleA(i) && r.fits(i, 0, r.path.Stream) })
	if thrifty > k {
		add("thriftier", thrifty, r.tolerates(thrifty), r.path.Reachability(thrifty),
			"saves packets, but a lost keepalive can make this side unreachable until a later one arrives")
	}

	// Each keepalive is a handshake there, and WireGuard repeats what is lost.
	room := min(r.path.Exchange, r.path.Stream) - r.spanned(LongKeepaliveS, 0)
	if retries := survived(room, handshakeRetryS, handshakeRetryS); room >= 0 && retries >= r.losses {
		add("long", LongKeepaliveS, min(retries, maxHandshakeTries-1), r.path.reachabilityLong(LongKeepaliveS),
			"each keepalive is a handshake, which is repeated when lost, and there are fewer packets than with any shorter interval")
	}
	return list
}

// fallback returns the usual interval, or the largest one below it that the
// bounds leave possible: a lifetime is taken as long as it may yet be.
func (r rules) fallback() int {
	possible := func(b Bounds) float64 {
		switch {
		case b.UpperS == nil:
			return math.Inf(1)
		case b.LowerS > 0:
			return b.LowerS
		default:
			return *b.UpperS
		}
	}
	exchange, stream := possible(r.in.Exchange), possible(r.in.Stream)
	losses := r.losses
	if r.path.Loss >= 1 {
		losses = 1 // nothing is known to ask for more
	}
	for k := UsualKeepaliveS; k > 1; k-- {
		if r.fits(k, 0, exchange) && r.fits(k, losses, stream) {
			return k
		}
	}
	return 1
}
