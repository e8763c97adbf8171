package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/natprobe/natprobe/results"
)

// Defaults of a Config.
const (
	// DefaultShortest is below every timer seen in a box for people (2 s, in ESP
	// access points).
	DefaultShortest = time.Second
	// DefaultLongest is above the longest published default (350 s, AWS NAT gateway).
	DefaultLongest = 6 * time.Minute
	// DefaultFlows leaves a carrier's port block (often 512 or 1,024 ports a
	// subscriber) to others too.
	DefaultFlows = 400
	// GentleFlows fits the smallest port blocks seen (64).
	GentleFlows = 64

	leastGap    = 250 * time.Millisecond
	greatestGap = time.Hour
	minFlows    = 32

	// MaxRepeat is the largest Config.Repeat.
	MaxRepeat = 100

	leastResolution = 500 * time.Millisecond // a burst takes most of it
)

// Config says what to measure. Its zero value, but for the reflector, is a
// default run.
type Config struct {
	Reflector netip.AddrPort
	// Local is the address that this machine uses towards the reflector. With
	// it the record can tell a path without translation. Zero: unknown.
	Local   netip.Addr
	Regimes []results.Regime // nil: all
	Min     time.Duration    // shortest gap; 0: DefaultShortest; at least 250 ms
	Max     time.Duration    // longest gap; 0: DefaultLongest; at most 1 h
	Flows   int              // mappings at a time; 0: DefaultFlows, or GentleFlows with Gentle; at least 32
	Gentle  bool             // few mappings, more rounds
	Budget  time.Duration    // end with what is known by then; 0: no limit
	// Resolution is how narrow brackets are to become in further rounds; at
	// least 500 ms and the RTT, 0: as narrow as a first bracket.
	Resolution time.Duration
	// Repeat is in how many further rounds, 0 to MaxRepeat, gaps around the end of
	// each bracket are tried again, at other times: a NAT that is lazy to sweep
	// shows one moment of its sweep only to a single round.
	Repeat int
	// Resume is an earlier record of the same path to go on from; nil: none. What
	// it shows is believed as far as this run's own trials, of which there are
	// some at both ends of each bracket, agree with it.
	Resume *results.Record
	Seed   uint64 // of the stagger of sentinels; 0: random
}

// withDefaults returns the effective configuration.
func (c Config) withDefaults() Config {
	if len(c.Regimes) == 0 {
		c.Regimes = results.Regimes()
	}
	if c.Min == 0 {
		c.Min = DefaultShortest
	}
	if c.Max == 0 {
		c.Max = DefaultLongest
	}
	if c.Flows == 0 {
		c.Flows = DefaultFlows
		if c.Gentle {
			c.Flows = GentleFlows
		}
	}
	return c
}

// ErrConfig reports a Config that can't be measured with.
var ErrConfig = errors.New("bad configuration")

// Validate returns an error that names the first field out of range, its value
// and the range; it wraps ErrConfig.
func (c Config) Validate() error {
	c = c.withDefaults()
	if !c.Reflector.IsValid() || c.Reflector.Port() == 0 {
		return fmt.Errorf("%w: reflector %q is not an address with a port", ErrConfig, c.Reflector)
	}
	for i, r := range c.Regimes {
		if !slices.Contains(results.Regimes(), r) {
			return fmt.Errorf("%w: regime %q is not one of %v", ErrConfig, r, results.Regimes())
		}
		if slices.Contains(c.Regimes[:i], r) {
			return fmt.Errorf("%w: regime %q is named twice", ErrConfig, r)
		}
	}
	if c.Min < leastGap || c.Min > greatestGap {
		return fmt.Errorf("%w: min %v is not between %v and %v", ErrConfig, c.Min, leastGap, greatestGap)
	}
	if c.Max < leastGap || c.Max > greatestGap {
		return fmt.Errorf("%w: max %v is not between %v and %v", ErrConfig, c.Max, leastGap, greatestGap)
	}
	if c.Min > c.Max {
		return fmt.Errorf("%w: min %v is above max %v", ErrConfig, c.Min, c.Max)
	}
	if c.Flows < minFlows {
		return fmt.Errorf("%w: flows %d is below %d", ErrConfig, c.Flows, minFlows)
	}
	if c.Resolution != 0 && (c.Resolution < leastResolution || c.Resolution > greatestGap) {
		return fmt.Errorf("%w: resolution %v is not between %v and %v", ErrConfig, c.Resolution, leastResolution, greatestGap)
	}
	if c.Repeat < 0 || c.Repeat > MaxRepeat {
		return fmt.Errorf("%w: repeat %d is not between 0 and %d", ErrConfig, c.Repeat, MaxRepeat)
	}
	if c.Resume != nil && c.Resume.Network.Family != familyOf(c.Reflector.Addr()) {
		return fmt.Errorf("%w: the record to go on from is of %s, and reflector %v is not", ErrConfig, c.Resume.Network.Family, c.Reflector)
	}
	if c.Budget < 0 {
		return fmt.Errorf("%w: budget %v is negative", ErrConfig, c.Budget)
	}
	return nil
}
