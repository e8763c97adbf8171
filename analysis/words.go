package analysis

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// missing says which evidence an interval can't do without, "" where it is all
// there.
func (r rules) missing() string {
	var unknown []string
	for _, l := range []struct {
		what string
		Bounds
	}{{"just after its handshake", r.in.Exchange}, {"that has carried traffic", r.in.Stream}} {
		if l.LowerS > 0 {
			continue
		}
		why := "was not measured"
		if l.UpperS != nil {
			why = fmt.Sprintf("is only known to be below %s", ceilSeconds(*l.UpperS))
		}
		unknown = append(unknown, fmt.Sprintf("how long a tunnel %s stays open %s", l.what, why))
	}
	switch {
	case !r.in.LossKnown:
		unknown = append(unknown, "the loss of the path was not measured")
	case r.path.Loss >= 1:
		unknown = append(unknown, "the path may lose every packet, by what is known")
	}
	return strings.Join(unknown, ", and ")
}

// unmet says why not even 1 s meets the rules.
func (r rules) unmet() string {
	const needs = "a keepalive each second would need %s, and only %s are proven for a tunnel %s"
	switch {
	case !r.ruleA(1):
		return fmt.Sprintf(needs, ceilSeconds(r.spanned(1, 0)), floorSeconds(r.path.Exchange), "just after its handshake")
	case !r.ruleB(1):
		return fmt.Sprintf(needs, ceilSeconds(r.spanned(1, r.losses)), floorSeconds(r.path.Stream),
			fmt.Sprintf("that has carried traffic (keepalives that may be lost in a row: %d)", r.losses))
	default:
		return fmt.Sprintf("with up to %s of packets lost, even a keepalive each second leaves this side unreachable for more than %s of the time",
			percent(r.path.Loss), percent(r.unreachable))
	}
}

// basis shows the sum behind the rule that binds.
func (r rules) basis(by rule, k int) string {
	h := strconv.FormatFloat(r.path.Lateness, 'f', -1, 64)
	slack := strconv.FormatFloat(r.path.SlackS, 'f', 2, 64)
	switch by {
	case ruleExchange:
		return fmt.Sprintf("exchange: %s × %d s + %s s ≤ %s", h, k, slack, floorSeconds(r.path.Exchange))
	case ruleStream:
		return fmt.Sprintf("stream: %d × %s × %d s + %s s ≤ %s", r.losses+1, h, k, slack, floorSeconds(r.path.Stream))
	case ruleReachability:
		return fmt.Sprintf("reachability: unreachable for at most %s of the time", percent(r.unreachable))
	default:
		return fmt.Sprintf("rekey: from %d s each keepalive brings a handshake, and more packets", rekeyAfterS)
	}
}

// reason is the whole recommendation in one sentence for a home user.
func (r rules) reason(by rule, k int) string {
	lives := fmt.Sprintf("%s keeps a tunnel that just shook hands open for %s, and one that has carried traffic for %s",
		r.box(), r.lasts(r.in.Exchange), r.lasts(r.in.Stream))
	if e, s := r.in.Exchange, r.in.Stream; sameLength(e.LowerS, s.LowerS) {
		short := e
		if s.LowerS < e.LowerS {
			short = s
		}
		lives = fmt.Sprintf("%s keeps an idle tunnel open for %s", r.box(), r.lasts(short))
	}
	tail := ""
	if by == ruleRekey {
		tail = ", and a longer interval would save nothing"
	}
	lost := "a keepalive is lost"
	if n := r.tolerates(k); n > 1 {
		lost = fmt.Sprintf("%d keepalives in a row are lost", n)
	}
	return fmt.Sprintf("%s: PersistentKeepalive = %d renews it in time, even when %s%s.", lives, k, lost, tail)
}

// fallbackReason says why there is no interval, and what to use meanwhile.
func (r rules) fallbackReason(k int, why string) string {
	choice := fmt.Sprintf("%d s, the longest interval that this measurement leaves possible", k)
	switch k {
	case UsualKeepaliveS:
		choice = fmt.Sprintf("the usual %d s", k)
	case 1:
		choice = "1 s, the shortest interval there is"
	}
	return fmt.Sprintf("No interval is proven to hold: %s. Until one is proven, use %s.", why, choice)
}

// box says what ends mappings, as far as the measurement can tell. Where the
// reflector's own side is not proven to be longer, it may be that.
func (r rules) box() string {
	switch levels := r.in.NATLevels; {
	case !r.in.Attested:
		return "The path to the reflector"
	case levels != nil && *levels > 1:
		return fmt.Sprintf("The shortest of your %d NATs", *levels)
	case r.in.Mapping == "none":
		return "The firewall on your path"
	case r.in.Mapping != "" || levels != nil && *levels == 1:
		return "Your NAT"
	default:
		return "Your path"
	}
}

// lasts says how long a lifetime is, with both bounds where they differ visibly.
func (r rules) lasts(b Bounds) string {
	if b.UpperS == nil {
		return "at least " + floorSeconds(b.LowerS)
	}
	if sameLength(b.LowerS, *b.UpperS) {
		return "about " + floorSeconds(b.LowerS)
	}
	return fmt.Sprintf("%s to %s", strings.TrimSuffix(floorSeconds(b.LowerS), " s"), ceilSeconds(*b.UpperS))
}

// sameLength says whether two lifetimes are the same but for the width of a bracket.
func sameLength(a, b float64) bool {
	return math.Abs(a-b) <= max(2, 0.05*min(a, b))
}

// floorSeconds writes what is proven, and so rounds down: to 0.1 s below 100 s,
// to 1 s from there.
func floorSeconds(s float64) string { return seconds(s, math.Floor) }

// ceilSeconds writes what is needed, or an upper bound, and so rounds up.
func ceilSeconds(s float64) string { return seconds(s, math.Ceil) }

func seconds(s float64, round func(float64) float64) string {
	unit := 10.0
	if s >= 100 {
		unit = 1
	}
	// The nudge keeps what is decimal already: 2.3 × 10 is 22.999….
	nudged := s * unit
	if nearest := math.Round(nudged); math.Abs(nearest-nudged) < 1e-6 {
		nudged = nearest
	}
	return strconv.FormatFloat(round(nudged)/unit, 'f', -1, 64) + " s"
}

func percent(share float64) string {
	return strconv.FormatFloat(100*share, 'g', 3, 64) + " %"
}
