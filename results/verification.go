package results

import "time"

// SchemaVerification names the form of a Verification.
const SchemaVerification = "natprobe.verify/1"

// Verdict says whether a keepalive interval holds.
type Verdict string

// The verdicts on an interval.
const (
	Holds     Verdict = "holds"     // with 95 % confidence each regime is reachable as often as the target asks
	Fails     Verdict = "fails"     // with 95 % confidence some regime is not
	Undecided Verdict = "undecided" // too few samples for either
)

// Verification is the outcome of a soak: flows were kept alive with one
// interval, and the peer tried to reach them at the end of each.
type Verification struct {
	Schema    string    `json:"schema"`
	ID        string    `json:"id"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	Tool      Tool      `json:"tool"`

	Config   map[string]any `json:"config"`   // settings in force, by flag name
	Supplied map[string]any `json:"supplied"` // settings as the user gave them

	Reflector Reflector `json:"reflector"`
	IntervalS float64   `json:"interval_s"`
	SilenceS  float64   `json:"silence_s"` // that each sample sat through: the interval times its lateness
	Target    float64   `json:"target"`    // reachability asked for, 0 to 1
	Verdict   Verdict   `json:"verdict"`
	Samples             // of all regimes together

	Regimes []RegimeSamples `json:"regimes"`
	// Reasons counts the unknown samples by why nothing is known of them.
	Reasons map[Reason]int `json:"reasons"`
	Loss    Loss           `json:"loss"`
	Events  []Event        `json:"events,omitempty"`
	Effort  Effort         `json:"effort"`
}

// Samples counts what became of the packets that came at the end of each
// interval.
type Samples struct {
	Reached int `json:"reached"`
	Missed  int `json:"missed"`
	Unknown int `json:"unknown"` // says nothing about the interval, and counts for nothing
	// Reachability is Reached of those that are known, 0 to 1; null without any.
	Reachability *float64 `json:"reachability"`
	Low95        float64  `json:"low95"`  // two-sided 95 % interval of the reachability
	High95       float64  `json:"high95"` // see Interval95
}

// RegimeSamples are the samples of mappings in one regime.
type RegimeSamples struct {
	Regime Regime `json:"regime"`
	Samples
}

// NewSamples returns samples with their reachability and its interval.
func NewSamples(reached, missed, unknown int) Samples {
	s := Samples{Reached: reached, Missed: missed, Unknown: unknown}
	s.Low95, s.High95 = Interval95(reached, reached+missed)
	if known := reached + missed; known > 0 {
		share := float64(reached) / float64(known)
		s.Reachability = &share
	}
	return s
}

// leastSamples is how many samples a regime needs before it can fail: the
// first misses may all have one cause.
const leastSamples = 5

// Judge returns what samples say of a target reachability, 0 to 1. The
// confidence is that of one look. Who looks after every sample and stops at the
// first verdict errs somewhat more often, but only near the target.
func (s Samples) Judge(target float64) Verdict {
	switch {
	case s.Reached+s.Missed >= leastSamples && s.High95 < target:
		return Fails
	case s.Low95 >= target:
		return Holds
	default:
		return Undecided
	}
}
