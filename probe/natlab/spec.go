package natlab

import (
	"errors"
	"fmt"
	"time"
)

// MaxNATs is the longest chain that a lab builds. Real paths have one or two;
// the limit keeps typing errors from making hundreds of namespaces.
const MaxNATs = 16

// Family is the address family of a lab.
type Family string

// The address families. The zero value means IPv4.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// Spec describes a lab. It is plain data: tests build any that they need. The
// zero value is an IPv4 network without NAT, firewall and loss.
type Spec struct {
	Name    string // what `natprobe lab list` shows; may be empty
	Summary string // one sentence for people
	// NATs are the boxes on the path, innermost (next to the client) first.
	// Without any, the client and the server share a link.
	NATs []NATSpec
	// Elsewhere are the boxes of a second uplink, in the same order: other
	// boxes that lead to the same server from another network, to which
	// Lab.Move takes the client. Without any there is no second uplink.
	Elsewhere []NATSpec
	// Loss is the share of packets, 0 to 1, that is lost in each direction
	// on the link between the outermost box and the server, elsewhere too. An outbound
	// packet that is lost there has refreshed every mapping on its way; an
	// inbound one has refreshed none.
	Loss   float64
	Family Family
	// Port is where a server is to listen for Truth to be true, as far as
	// that depends on it (NATSpec.DNS); 0 means anywhere but at 53.
	Port uint16
	// Emulated makes the boxes models (package natmodel) in this process
	// instead of the kernel's. Such a lab runs on every system, without
	// privileges; only this process's own sockets are in it, and it has no
	// second uplink.
	Emulated bool
}

// Timers are the true lifetimes of a mapping by what the mapping saw before
// its silence (see results.Regime). 0 means that nothing on the path expires.
type Timers struct {
	Solitary time.Duration // one outbound packet, nothing inbound
	Oneway   time.Duration // several outbound packets, nothing inbound
	Exchange time.Duration // request, reply, one more outbound packet, all within 2 s
	Stream   time.Duration // round trips over more than 2 s
}

// Truth returns the lifetimes that a measurement of the whole path must find.
// With several boxes in a row it is the shortest of them for each regime. On
// Linux all regimes but stream share one timer: a mapping becomes a stream
// only with a packet that comes more than 2 s after the first. Boxes that let in
// what belongs to no flow (NATSpec.Filtering) have other lifetimes or none, for a
// packet that comes after a mapping expired makes a new one, in its place. What is
// true elsewhere is Spec{NATs: s.Elsewhere}.Truth().
func (s Spec) Truth() Timers {
	var t Timers
	for _, nat := range s.NATs {
		solitary, stream := nat.withDefaults().lifetimes(s.Port)
		t.Solitary, t.Stream = shorter(t.Solitary, solitary), shorter(t.Stream, stream)
	}
	t.Oneway, t.Exchange = t.Solitary, t.Solitary
	return t
}

// shorter returns the shorter one of two lifetimes, of which 0 never ends.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Latest returns by when a mapping is gone at the latest. It differs from Truth
// where a box looks for expired mappings now and then only (NATSpec.Sweep): each
// mapping's lifetime lies somewhere between the two, Latest excluded.
func (s Spec) Latest() Timers {
	late := s
	late.NATs = defaulted(s.NATs)
	for i := range late.NATs {
		nat := &late.NATs[i]
		nat.Solitary += nat.Sweep
		nat.Stream += nat.Sweep
		if nat.DNS > 0 {
			nat.DNS += nat.Sweep
		}
	}
	return late.Truth()
}

// Validate reports the first field that a lab can't be built from.
func (s Spec) Validate() error {
	switch s.Family {
	case "", IPv4, IPv6:
	default:
		return fmt.Errorf("family %q: must be %q or %q", s.Family, IPv4, IPv6)
	}
	if err := validateLoss("loss", s.Loss); err != nil {
		return err
	}
	if s.Emulated && len(s.Elsewhere) > 0 {
		return errors.New("boxes elsewhere: an emulated lab has one uplink")
	}
	if err := errors.Join(validateServerSide(s.NATs), validateServerSide(s.Elsewhere)); err != nil {
		return err
	}
	if err := errors.Join(validateFilters(s.NATs), validateFilters(s.Elsewhere)); err != nil {
		return err
	}
	if err := s.validateChain("NAT", s.NATs); err != nil {
		return err
	}
	return s.validateChain("NAT elsewhere", s.Elsewhere)
}

func (s Spec) validateChain(name string, nats []NATSpec) error {
	if len(nats) > MaxNATs {
		return fmt.Errorf("%s %d: at most %d in a row", name, len(nats)-1, MaxNATs)
	}
	for i, nat := range nats {
		err := nat.withDefaults().validate()
		if err == nil {
			err = nat.validateMadeOf(s.Emulated)
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", name, i, err)
		}
	}
	return nil
}

func validateLoss(name string, loss float64) error {
	if !(loss >= 0 && loss <= 1) { // written so that NaN fails too
		return fmt.Errorf("%s %v: must be from 0 to 1", name, loss)
	}
	return nil
}
