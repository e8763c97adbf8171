package analysis

import (
	"fmt"
	"math"
	"time"

	"github.com/natprobe/natprobe/results"
)

const (
	// LatenessKernel is how late, as a factor of the interval, the kernel's
	// WireGuard may send a keepalive: its timer wheel rounds up by as much as an eighth,
	// 12.7 % with what else was seen. It is the default, as nobody can tell
	// beforehand which implementation an interval will be pasted into.
	LatenessKernel = 1.13
	// LatenessExact is for wireguard-go, whose timers are exact.
	LatenessExact = 1.0
	// DefaultSlack is added to the round-trip time: scheduling, jitter, and
	// gateways that look at their timers once a second.
	DefaultSlack = time.Second
)

// Bounds is what is proven of a lifetime: at least LowerS seconds, and below
// UpperS seconds unless that is nil. The zero value says that nothing is known.
type Bounds struct {
	LowerS float64
	UpperS *float64
}

// Input is what a recommendation follows from. Its zero value knows nothing
// and yields no interval.
type Input struct {
	Oneway, Exchange, Stream Bounds

	// LossUpper95 is the upper 95 % bound of the outbound loss rate, 0 to 1.
	// It is looked at only where LossKnown is true.
	LossUpper95 float64
	LossKnown   bool
	// RTT is the round-trip time to the peer; that to the reflector stands for it.
	RTT time.Duration

	// Family decides the size of packets. Empty counts as IPv4.
	Family results.Family
	// Mapping and Filtering are RFC 4787's words, or none; empty where unknown.
	Mapping, Filtering string
	// NATLevels is the number of NATs on the path, nil where unknown.
	NATLevels *int
	// Attested is true where the reflector's own side is proven not to be the
	// shortest timer.
	Attested bool

	Tolerance Tolerance
}

// Tolerance is how careful a recommendation is. The zero value is the
// default.
type Tolerance struct {
	// Lateness is how late a keepalive may leave, as a factor of the interval,
	// 1 to 2. 0 means LatenessKernel.
	Lateness float64
	// Slack is added to the round-trip time. 0 means DefaultSlack.
	Slack time.Duration
	// Losses is how many keepalives in a row may be lost without harm to a
	// warmed tunnel, 1 to 100. 0 means: as many as the loss rate asks for.
	Losses int
	// Unreachable is the share of time, up to 1, for which the peer may be
	// unable to reach this side. 0 means a tenth of the loss rate's bound, but
	// at least 1e-4: a tunnel need not be much better than the path below it.
	Unreachable float64
}

// Validate returns an error that names the first field out of its range.
func (in Input) Validate() error {
	for _, b := range []struct {
		name string
		Bounds
	}{{"Oneway", in.Oneway}, {"Exchange", in.Exchange}, {"Stream", in.Stream}} {
		if !(b.LowerS >= 0 && b.LowerS <= results.MaxGapS) {
			return fmt.Errorf("%s.LowerS is %v s, not between 0 and %d", b.name, b.LowerS, results.MaxGapS)
		}
		if b.UpperS != nil && !(*b.UpperS >= b.LowerS && *b.UpperS <= results.MaxGapS) {
			return fmt.Errorf("%s.UpperS is %v s, not between LowerS and %d", b.name, *b.UpperS, results.MaxGapS)
		}
	}
	if !(in.LossUpper95 >= 0 && in.LossUpper95 <= 1) {
		return fmt.Errorf("LossUpper95 is %v, not between 0 and 1", in.LossUpper95)
	}
	if in.RTT < 0 {
		return fmt.Errorf("RTT is %v, below 0", in.RTT)
	}
	t := in.Tolerance
	if t.Lateness != 0 && !(t.Lateness >= 1 && t.Lateness <= 2) {
		return fmt.Errorf("Tolerance.Lateness is %v, not between 1 and 2", t.Lateness)
	}
	if t.Slack < 0 {
		return fmt.Errorf("Tolerance.Slack is %v, below 0", t.Slack)
	}
	if t.Losses < 0 || t.Losses > 100 {
		return fmt.Errorf("Tolerance.Losses is %d, not between 1 and 100", t.Losses)
	}
	if !(t.Unreachable >= 0 && t.Unreachable <= 1) {
		return fmt.Errorf("Tolerance.Unreachable is %v, not between 0 and 1", t.Unreachable)
	}
	return nil
}

// InputFromRecord takes from a record what a recommendation follows from. Of
// several rows for a regime, such as for several ports, each bound is the
// shortest: a tunnel may use any of them. Rows for single hops, and for other payloads
// than the regime's first row has, are left out. A regime without a row is
// not known; that is no error. The error is that of [Input.Validate].
func InputFromRecord(r results.Record) (Input, error) {
	in := Input{
		LossUpper95: r.Loss.Upper95,
		LossKnown:   r.Loss.Sent > 0,
		RTT:         time.Duration(r.Reflector.RTTms * float64(time.Millisecond)),
		Family:      r.Network.Family,
		Mapping:     r.Network.Mapping,
		Filtering:   r.Network.Filtering,
		NATLevels:   r.Network.NATLevels,
		Attested:    r.Reflector.Attested,
	}
	in.Oneway = shortest(r.Lifetimes, results.Oneway)
	in.Exchange = shortest(r.Lifetimes, results.Exchange)
	in.Stream = shortest(r.Lifetimes, results.Stream)
	if err := in.Validate(); err != nil {
		return Input{}, fmt.Errorf("take lifetimes, loss and round-trip time from record %s: %w", r.ID, err)
	}
	return in, nil
}

// shortest returns the bounds of a regime over the rows of a record.
func shortest(rows []results.Lifetime, regime results.Regime) Bounds {
	lower, upper := math.Inf(1), math.Inf(1)
	var payload *string
	for _, row := range rows {
		if row.Regime != regime || row.Hop != 0 {
			continue
		}
		if payload == nil {
			payload = &row.Payload
		}
		if row.Payload != *payload {
			continue
		}
		lower = min(lower, row.LowerS)
		if row.UpperS != nil {
			upper = min(upper, *row.UpperS)
		}
	}
	var b Bounds
	if payload != nil {
		b.LowerS = lower
	}
	if !math.IsInf(upper, 1) {
		b.UpperS = &upper
	}
	return b
}
