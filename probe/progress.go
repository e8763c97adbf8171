package probe

import (
	"time"

	"github.com/natprobe/natprobe/results"
)

// RungState is where a gap of the ladder stands.
type RungState uint8

// The states of a rung.
const (
	RungUnsent  RungState = iota // not tried yet, or not needed
	RungPending                  // a trial is under way
	RungAlive
	RungExpired
	RungInconclusive
)

// Rung is one gap of a regime's ladder.
type Rung struct {
	Gap   time.Duration
	State RungState
}

// RegimeProgress is what is known of one regime so far.
type RegimeProgress struct {
	Regime results.Regime
	Rungs  []Rung        // by ascending gap
	Lower  time.Duration // longest proven lifetime; 0: none yet
	Upper  time.Duration // proven to expire before; 0: unknown
	Done   bool          // its bracket stands
}

// Progress is a snapshot of a measurement.
type Progress struct {
	Elapsed   time.Duration
	Remaining time.Duration // at most, as things stand; without disputes and events
	RTT       time.Duration // smallest seen
	Outbound  results.Loss
	Inbound   results.Loss
	Silent    time.Duration // since the reflector answered last
	Mappings  int           // probably alive in the NAT
	Certain   time.Duration // each regime is proven to live this long
	Regimes   []RegimeProgress
	Events    []results.Event
}
