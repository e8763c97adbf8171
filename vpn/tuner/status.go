package tuner

import (
	"time"

	"github.com/natprobe/natprobe/results"
)

// Phase is what the tuner does on a path.
type Phase string

// The phases.
const (
	PhaseWaiting   Phase = "waiting for a peer" // none has an endpoint of this family
	PhaseOffline   Phase = "offline"
	PhaseMeasuring Phase = "measuring"
	PhaseVerifying Phase = "verifying"
	PhaseSet       Phase = "set"     // by a measurement, and holding
	PhaseUnknown   Phase = "unknown" // nothing could be measured yet
)

// Status is what a tuner knows and does.
type Status struct {
	Interface string       `json:"interface"`
	Paths     []PathStatus `json:"paths"`
	// Changes are the last intervals set, newest last.
	Changes []Change `json:"changes"`
}

// PathStatus is the state for one family of addresses.
type PathStatus struct {
	Family  results.Family `json:"family"`
	Phase   Phase          `json:"phase"`
	Network string         `json:"network"` // for a person
	// IntervalS is the interval in force, seconds; 0: none are sent.
	IntervalS int    `json:"interval_s"`
	Why       string `json:"why"` // the reason of the last change
	// Lifetimes and Recommendation are those that the interval follows from;
	// empty where it doesn't follow from a measurement.
	Lifetimes      []results.Lifetime      `json:"lifetimes,omitempty"`
	Recommendation *results.Recommendation `json:"recommendation,omitempty"`
	MeasuredAt     *time.Time              `json:"measured_at,omitempty"`
	VerifiedAt     *time.Time              `json:"verified_at,omitempty"`
	// Trouble is why the last measurement or trial came to nothing.
	Trouble string `json:"trouble,omitempty"`
	// Next says what is done next and NextAt when; empty while it is at work.
	Next   string     `json:"next,omitempty"`
	NextAt *time.Time `json:"next_at,omitempty"`
}

// leave forgets what was known of a network. The interval stays in force.
func (s *PathStatus) leave(phase Phase, network string) {
	*s = PathStatus{Family: s.Family, Phase: phase, Network: network, IntervalS: s.IntervalS, Why: s.Why}
}

// Change is one interval that was set.
type Change struct {
	At        time.Time      `json:"at"`
	Family    results.Family `json:"family"`
	Network   string         `json:"network"`
	IntervalS int            `json:"interval_s"`
	Reason    string         `json:"reason"`
}

const keptChanges = 50
