package probe

import (
	"fmt"
	"net/netip"
	"time"
)

// DefaultEgressGap is the longest gap of a default measurement: a reflector
// proven for as long is never in doubt.
const DefaultEgressGap = DefaultLongest

// NearAuto keeps one hop alive where there is a NAT between the checker and the
// reflector, and none where there isn't.
const NearAuto = -1

const (
	// maxNear is above what a checker's own network has.
	maxNear = 16

	egressRounds = 3 // longest gaps in the budget
	egressLeast  = time.Minute
)

// EgressConfig says what of a reflector to check.
type EgressConfig struct {
	Reflector netip.AddrPort
	Local     netip.Addr    // that this machine uses towards it; zero: unknown
	MaxGap    time.Duration // longest silence, whole seconds from 2 s to 1 h; 0: DefaultEgressGap
	// Near is how many hops from this machine are not the reflector's side, and
	// are kept alive during the silences: 0 to 16, or NearAuto.
	Near   int
	Budget time.Duration // end undecided then; 0: three times MaxGap and a minute
	Seed   uint64        // of the stagger of sentinels; 0: random
}

func (c EgressConfig) withDefaults() EgressConfig {
	if c.MaxGap == 0 {
		c.MaxGap = DefaultEgressGap
	}
	if c.Budget == 0 {
		c.Budget = egressRounds*c.MaxGap + egressLeast
	}
	return c
}

// Effective returns the configuration with its defaults filled in.
func (c EgressConfig) Effective() EgressConfig { return c.withDefaults() }

// Validate returns an error that names the first field out of range, its value
// and the range; it wraps ErrConfig.
func (c EgressConfig) Validate() error {
	c = c.withDefaults()
	if !c.Reflector.IsValid() || c.Reflector.Port() == 0 {
		return fmt.Errorf("%w: reflector %q is not an address with a port", ErrConfig, c.Reflector)
	}
	if c.MaxGap < 2*time.Second || c.MaxGap > greatestGap || c.MaxGap%time.Second != 0 {
		return fmt.Errorf("%w: max-gap %v is not whole seconds between 2s and %v", ErrConfig, c.MaxGap, greatestGap)
	}
	if c.Near < NearAuto || c.Near > maxNear {
		return fmt.Errorf("%w: near %d is not between 0 and %d", ErrConfig, c.Near, maxNear)
	}
	if c.Budget < 0 {
		return fmt.Errorf("%w: budget %v is negative", ErrConfig, c.Budget)
	}
	return nil
}

// gaps returns the silences to try, in whole seconds, an eighth apart, with
// those around timers that boxes really have.
func (c EgressConfig) gaps() []time.Duration {
	var list []time.Duration
	known := knownTimers()
	for g := time.Second; g < c.MaxGap; {
		list = append(list, g)
		next := g + max(time.Second, (g/8).Truncate(time.Second))
		for _, timer := range known {
			for _, near := range []time.Duration{timer - time.Second, timer + time.Second} {
				if near > g && near < next {
					next = near
				}
			}
		}
		g = next
	}
	return append(list, c.MaxGap)
}
