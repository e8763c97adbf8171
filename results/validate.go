package results

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// FieldError says which field of a record is wrong and how.
type FieldError struct {
	Field   string // path of the field, such as trials[3].gap_s; empty for the record as a whole
	Problem string // continues a sentence that begins with the field
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return "the record " + e.Problem
	}
	return e.Field + " " + e.Problem
}

// MaxGapS is the longest gap and lifetime that a record may hold, in seconds: a
// week. No mapping of UDP is known to live as long; beyond it is a mistake of units.
const MaxGapS = 7 * 24 * 3600

// Validate returns a *FieldError for the first field that breaks the schema,
// nil where there is none. Fields that say that nothing was measured are valid.
func (r Record) Validate() error {
	c := &checker{}
	c.word("schema", r.Schema, SchemaRecord)
	if !validID(r.ID) {
		c.fail("id", "is %q, not 32 hexadecimal digits", r.ID)
	}
	if r.StartedAt.IsZero() {
		c.fail("started_at", "is not set")
	}
	if r.EndedAt.IsZero() {
		c.fail("ended_at", "is not set")
	}
	r.Network.validate(c)
	c.number("reflector.rtt_ms", r.Reflector.RTTms, 0, math.MaxFloat64)
	c.number("reflector.egress_gap_s", r.Reflector.EgressGapS, 0, MaxGapS)
	for i, l := range r.Lifetimes {
		l.validate(c, fmt.Sprintf("lifetimes[%d].", i))
	}
	r.Loss.validate(c, "loss.")
	if r.Loss.Inbound != nil {
		r.Loss.Inbound.validate(c, "loss.inbound.")
	}
	if r.Recommendation != nil {
		r.Recommendation.validate(c)
	}
	for i, t := range r.Trials {
		t.validate(c, fmt.Sprintf("trials[%d].", i))
	}
	r.Effort.validate(c)
	for i, e := range r.Events {
		c.number(fmt.Sprintf("events[%d].at_s", i), e.AtS, 0, math.MaxFloat64)
		c.count(fmt.Sprintf("events[%d].voided", i), e.Voided)
	}
	if c.err == nil {
		return nil // not a nil *FieldError in an error
	}
	return c.err
}

func (n Network) validate(c *checker) {
	c.word("network.family", string(n.Family), "", string(IPv4), string(IPv6))
	behaviours := []string{"", "endpoint-independent", "address-dependent", "address-and-port-dependent"}
	c.word("network.mapping", n.Mapping, append(behaviours, "none")...)
	c.word("network.filtering", n.Filtering, behaviours...)
	if n.NATLevels != nil {
		c.count("network.nat_levels", *n.NATLevels)
	}
	if n.ASN != nil {
		c.number("network.asn", float64(*n.ASN), 0, math.MaxUint32)
	}
}

func (l Lifetime) validate(c *checker, at string) {
	c.regime(at+"regime", l.Regime)
	c.whole(at+"dst_port", l.DstPort, 0, math.MaxUint16)
	c.whole(at+"hop", l.Hop, 0, 255)
	c.number(at+"lower_s", l.LowerS, 0, MaxGapS)
	if l.UpperS != nil {
		c.number(at+"upper_s", *l.UpperS, 0, MaxGapS)
		if *l.UpperS <= l.LowerS {
			c.fail(at+"upper_s", "is %v, not above lower_s, %v", *l.UpperS, l.LowerS)
		}
	}
	c.word(at+"shape", string(l.Shape), string(Sharp), string(Band))
	c.word(at+"censored", string(l.Censored), string(CensoredNone), string(CensoredLeft), string(CensoredRight))
	c.word(at+"cause", string(l.Cause), string(CauseNone), string(CauseNetwork), string(CausePath))
	if right := l.Censored == CensoredRight; right != (l.UpperS == nil) {
		c.fail(at+"censored", "is %q, but upper_s is null exactly where it is %q", l.Censored, CensoredRight)
	}
	c.count(at+"trials", l.Trials)
	c.count(at+"alive", l.Alive)
	c.count(at+"expired", l.Expired)
	c.count(at+"inconclusive", l.Inconclusive)
	if l.Alive > l.Trials || l.Expired > l.Trials-l.Alive || l.Inconclusive > l.Trials-l.Alive-l.Expired {
		c.fail(at+"trials", "is %d, fewer than alive, expired and inconclusive together", l.Trials)
	}
}

func (l Loss) validate(c *checker, at string) {
	c.count(at+"sent", l.Sent)
	c.whole(at+"lost", l.Lost, 0, l.Sent)
	c.number(at+"rate", l.Rate, 0, 1)
	c.number(at+"upper95", l.Upper95, 0, 1)
}

func (r Recommendation) validate(c *checker) {
	const at = "recommendation."
	seconds := func(field string, v *int) {
		if v != nil {
			c.whole(at+field, *v, 0, math.MaxUint16) // WireGuard's interval has 16 bits
		}
	}
	seconds("keepalive_s", r.KeepaliveS)
	seconds("fallback_s", r.FallbackS)
	if r.KeepaliveS == nil && r.FallbackS == nil {
		c.fail(at+"fallback_s", "is null, and so is keepalive_s")
	}
	c.count(at+"tolerates_losses", r.ToleratesLosses)
	c.number(at+"reachability", r.Reachability, 0, 1)
	c.number(at+"reachability_at_25_s", r.ReachabilityAt25, 0, 1)
	c.number(at+"margin_s", r.MarginS, -MaxGapS, MaxGapS)
	r.CostPerDay.validate(c, at+"cost_per_day.")
	r.CostAt25.validate(c, at+"cost_at_25_s.")
	for i, a := range r.Alternatives {
		at := fmt.Sprintf("%salternatives[%d].", at, i)
		c.whole(at+"keepalive_s", a.KeepaliveS, 0, math.MaxUint16)
		c.count(at+"tolerates_losses", a.ToleratesLosses)
		c.number(at+"reachability", a.Reachability, 0, 1)
		a.CostPerDay.validate(c, at+"cost_per_day.")
	}
}

func (cost Cost) validate(c *checker, at string) {
	c.number(at+"packets", cost.Packets, 0, math.MaxFloat64)
	c.number(at+"bytes", cost.Bytes, 0, math.MaxFloat64)
	c.number(at+"wakeups", cost.Wakeups, 0, math.MaxFloat64)
}

func (t Trial) validate(c *checker, at string) {
	c.regime(at+"regime", t.Regime)
	c.number(at+"gap_s", t.GapS, 0, MaxGapS)
	c.number(at+"measured_gap_s", t.MeasuredGapS, 0, MaxGapS)
	c.number(at+"bound_s", t.BoundS, 0, MaxGapS)
	c.word(at+"outcome", string(t.Outcome), string(Alive), string(Expired), string(Inconclusive))
	c.count(at+"copies_sent", t.CopiesSent)
	c.count(at+"copies_received", t.CopiesReceived)
	c.count(at+"beacons", t.Beacons)
}

func (e Effort) validate(c *checker) {
	c.number("effort.elapsed_s", e.ElapsedS, 0, math.MaxFloat64)
	c.number("effort.first_bracket_s", e.FirstBracketS, 0, math.MaxFloat64)
	c.count("effort.packets_sent", e.PacketsSent)
	c.count("effort.packets_received", e.PacketsRecv)
	c.count("effort.bytes_sent", e.BytesSent)
	c.count("effort.max_mappings", e.MaxMappings)
	c.count("effort.rounds", e.Rounds)
}

// checker keeps the first failed check.
type checker struct{ err *FieldError }

func (c *checker) fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
	}
}

func (c *checker) word(field, got string, allowed ...string) {
	if slices.Contains(allowed, got) {
		return
	}
	quoted := make([]string, len(allowed))
	for i, a := range allowed {
		quoted[i] = fmt.Sprintf("%q", a)
	}
	c.fail(field, "is %q, not %s", got, strings.Join(quoted, " or "))
}

func (c *checker) regime(field string, got Regime) {
	if !slices.Contains(Regimes(), got) {
		c.fail(field, "is %q, which is no regime of %v", got, Regimes())
	}
}

// number checks that got is finite and between low and high.
func (c *checker) number(field string, got, low, high float64) {
	switch {
	case math.IsNaN(got) || math.IsInf(got, 0):
		c.fail(field, "is %v, not a finite number", got)
	case got >= low && got <= high:
	case high == math.MaxFloat64:
		c.fail(field, "is %v, below %v", got, low)
	default:
		c.fail(field, "is %v, not between %v and %v", got, low, high)
	}
}

func (c *checker) whole(field string, got, low, high int) {
	if got < low || got > high {
		c.fail(field, "is %d, not between %d and %d", got, low, high)
	}
}

func (c *checker) count(field string, got int) {
	if got < 0 {
		c.fail(field, "is %d, below 0", got)
	}
}
