package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

// Defaults of a SoakConfig.
const (
	// DefaultTarget is what an interval must reach to hold. An interval that is
	// too long misses nearly always, or, behind a box that looks for idle
	// mappings now and then, often; 72 samples without a miss tell it from that.
	DefaultTarget = 0.95
	// DefaultSoakFlows decide at this target within 9 or 10 intervals.
	DefaultSoakFlows = 16

	soakRounds = 20              // intervals in the default budget
	soakLeast  = 5 * time.Minute // the least of it

	shortestInterval = time.Second
	longestLateness  = 2
	// soakFlowsPerSecond of interval leave room in what a reflector lets be due
	// to one address, also where loss makes bursts large.
	soakFlowsPerSecond = 5
)

// SoakConfig says what to verify.
type SoakConfig struct {
	Reflector netip.AddrPort
	Interval  time.Duration    // between keepalives; from 1 s
	Lateness  float64          // how late keepalives fire, as a factor, 1 to 2; 0: 1, on time
	Regimes   []results.Regime // nil: exchange and stream, what a tunnel's keepalives find
	Target    float64          // reachability to hold, 0.5 to 0.999; 0: DefaultTarget
	Flows     int              // kept alive at a time; 0: DefaultSoakFlows, or fewer for a short interval
	Budget    time.Duration    // end undecided then; 0: 20 intervals, at least 5 min
	Seed      uint64           // of the stagger of sentinels; 0: random
}

// maxFlows is the most flows that an interval has room for.
func (c SoakConfig) maxFlows() int { return int(soakFlowsPerSecond * c.silence().Seconds()) }

// silence is what a mapping must live through.
func (c SoakConfig) silence() time.Duration {
	return time.Duration(c.Lateness * float64(c.Interval)).Round(time.Millisecond)
}

func (c SoakConfig) withDefaults() SoakConfig {
	if c.Lateness == 0 {
		c.Lateness = 1
	}
	if len(c.Regimes) == 0 {
		c.Regimes = []results.Regime{results.Exchange, results.Stream}
	}
	if c.Target == 0 {
		c.Target = DefaultTarget
	}
	if c.Flows == 0 {
		c.Flows = min(DefaultSoakFlows, c.maxFlows())
	}
	if c.Budget == 0 {
		c.Budget = max(soakRounds*c.silence(), soakLeast)
	}
	return c
}

// Effective returns the configuration with its defaults filled in.
func (c SoakConfig) Effective() SoakConfig { return c.withDefaults() }

// Validate returns an error that names the first field out of range, its value
// and the range; it wraps ErrConfig.
func (c SoakConfig) Validate() error {
	c = c.withDefaults()
	if !c.Reflector.IsValid() || c.Reflector.Port() == 0 {
		return fmt.Errorf("%w: reflector %q is not an address with a port", ErrConfig, c.Reflector)
	}
	if c.Interval < shortestInterval || c.Interval > greatestGap {
		return fmt.Errorf("%w: interval %v is not between %v and %v", ErrConfig, c.Interval, shortestInterval, greatestGap)
	}
	if !(c.Lateness >= 1 && c.Lateness <= longestLateness) {
		return fmt.Errorf("%w: late %v is not between 1 and %d", ErrConfig, c.Lateness, longestLateness)
	}
	if c.silence() > greatestGap {
		return fmt.Errorf("%w: interval %v, so late, is above %v", ErrConfig, c.Interval, greatestGap)
	}
	for i, r := range c.Regimes {
		if r != results.Exchange && r != results.Stream {
			return fmt.Errorf("%w: regime %q is not %s or %s", ErrConfig, r, results.Exchange, results.Stream)
		}
		if slices.Contains(c.Regimes[:i], r) {
			return fmt.Errorf("%w: regime %q is named twice", ErrConfig, r)
		}
	}
	if !(c.Target >= 0.5 && c.Target <= 0.999) {
		return fmt.Errorf("%w: target %v is not between 0.5 and 0.999", ErrConfig, c.Target)
	}
	if c.Flows < len(c.Regimes) || c.Flows > c.maxFlows() {
		return fmt.Errorf("%w: flows %d is not between %d, one for each regime, and %d, what an interval of %v has room for",
			ErrConfig, c.Flows, len(c.Regimes), c.maxFlows(), c.Interval)
	}
	if c.Budget < 0 {
		return fmt.Errorf("%w: budget %v is negative", ErrConfig, c.Budget)
	}
	return nil
}
