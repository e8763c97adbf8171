package natmodel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// DefaultMinPort is the lowest external port given out by default: RFC 4787
	// section 4.2.1 keeps the well-known ports for flows that come from there.
	DefaultMinPort = 1024
	// DefaultMaxPort is the highest external port given out by default.
	DefaultMaxPort = 65535
)

// Config describes a NAT or a stateful firewall. The zero value of each field is
// usable, except for Timers, and for External where addresses are translated.
type Config struct {
	// NoTranslation makes it a stateful firewall: addresses and ports stay, only
	// Filtering counts, and Mapping, External, Pooling and the ports are ignored.
	NoTranslation bool
	// External holds the addresses that inside endpoints appear as: one, or a
	// pool. All of one IP version, the same as inside.
	External []netip.Addr
	// Pooling says how addresses of a pool are given out.
	Pooling Pooling
	// Mapping says when two flows of one internal endpoint share a mapping.
	Mapping Dependence
	// Filtering says who may answer through a mapping. Permissions live as long
	// as their mapping.
	Filtering Dependence
	// Ports says how external ports are chosen.
	Ports PortPolicy
	// MinPort and MaxPort bound the external ports, both included; 0 means
	// DefaultMinPort and DefaultMaxPort.
	MinPort, MaxPort uint16
	// PortOverlap lets mappings to different remotes share an external port (RFC
	// 7857 section 3), as Linux and pf do. It needs a mapping that depends on the
	// remote, and filtering at least as strict as the mapping.
	PortOverlap bool
	// Timers are the lifetimes of mappings. A mapping is dead from the very
	// moment at which its timer ends.
	Timers Timers
	// StreamAfter is the age above which a flow that was replied to counts as a
	// stream. Linux: 2 s. At 0 each packet after the moment of the first one does.
	StreamAfter time.Duration
	// RefreshInbound says whether packets from outside restart the timer as well.
	// Where it is false, they leave the deadline alone and are only noted as
	// replies. Outbound packets always restart it (RFC 4787 REQ-6).
	RefreshInbound bool
	// Sweep is the period of a lazy garbage collector: a mapping works on, and can
	// be refreshed, until the first sweep at or after its deadline, so lifetimes
	// are a band [timer, timer+Sweep). The phase is drawn from Seed. 0 means exact.
	Sweep time.Duration
	// MaxMappings bounds the table, state of stray packets included; 0: no bound.
	MaxMappings int
	// Full says what to do with a new mapping when the table is full.
	Full FullPolicy
	// WANInput says what becomes of packets to the box itself.
	WANInput WANInput
	// Seed starts the random numbers for ports, pool addresses and sweep phase.
	Seed uint64
}

// Validate reports all that is wrong with the config, naming field, value and
// the range allowed.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("natmodel: "+format, args...)) }

	for _, t := range []struct {
		name  string
		value time.Duration
	}{
		{"Timers.Solitary", c.Timers.Solitary},
		{"Timers.Oneway", c.Timers.Oneway},
		{"Timers.Exchange", c.Timers.Exchange},
		{"Timers.Stream", c.Timers.Stream},
	} {
		if t.value <= 0 {
			bad("%s is %v, want more than 0", t.name, t.value)
		}
	}
	if c.StreamAfter < 0 {
		bad("StreamAfter is %v, want 0 or more", c.StreamAfter)
	}
	if c.Sweep < 0 {
		bad("Sweep is %v, want 0 (exact) or more", c.Sweep)
	}
	if c.MaxMappings < 0 {
		bad("MaxMappings is %d, want 0 (no bound) or more", c.MaxMappings)
	}
	oneOf(bad, "Filtering", c.Filtering, EndpointIndependent, AddressAndPortDependent)
	oneOf(bad, "Full", c.Full, RefuseNew, EvictUnreplied)
	oneOf(bad, "WANInput", c.WANInput, Drop, Accept)

	if c.NoTranslation {
		if c.WANInput == Accept {
			bad("WANInput is accept, want drop with NoTranslation: a firewall has no address of its own here")
		}
		return errors.Join(errs...)
	}

	oneOf(bad, "Mapping", c.Mapping, EndpointIndependent, AddressAndPortDependent)
	oneOf(bad, "Ports", c.Ports, Preserve, Sequential)
	oneOf(bad, "Pooling", c.Pooling, Paired, Arbitrary)
	if err := checkPool(c.External); err != nil {
		errs = append(errs, err)
	}
	if low, high := c.portRange(); low > high {
		bad("MinPort is %d and MaxPort %d, want MinPort at most MaxPort", low, high)
	}
	if c.PortOverlap && c.Mapping == EndpointIndependent {
		bad("PortOverlap is set and Mapping %v, want a mapping that depends on the remote", c.Mapping)
	}
	if c.PortOverlap && c.Filtering < c.Mapping {
		bad("PortOverlap is set and Filtering %v, want %v or stricter", c.Filtering, c.Mapping)
	}
	return errors.Join(errs...)
}

// oneOf reports an enumeration outside first to last.
func oneOf[E ~int](bad func(string, ...any), field string, v, first, last E) {
	if v < first || v > last {
		bad("%s is %d, want %d (%v) to %d (%v)", field, int(v), int(first), first, int(last), last)
	}
}

// checkPool reports what is wrong with a pool of external addresses.
func checkPool(pool []netip.Addr) error {
	if len(pool) == 0 {
		return errors.New("natmodel: External is empty, want at least one address unless NoTranslation is set")
	}
	for i, a := range pool {
		switch {
		case !a.IsValid(), a.IsUnspecified(), a.Is4In6(), a.Zone() != "":
			return fmt.Errorf("natmodel: External[%d] is %v, want a plain IPv4 or IPv6 address", i, a)
		case a.Is4() != pool[0].Is4():
			return fmt.Errorf("natmodel: External[%d] is %v, want the IP version of %v", i, a, pool[0])
		case slices.Contains(pool[:i], a):
			return fmt.Errorf("natmodel: External[%d] is %v, want each address once", i, a)
		}
	}
	return nil
}

// portRange returns the bounds of external ports with defaults filled in.
func (c Config) portRange() (low, high uint16) {
	low, high = c.MinPort, c.MaxPort
	if low == 0 {
		low = DefaultMinPort
	}
	if high == 0 {
		high = DefaultMaxPort
	}
	return low, high
}
