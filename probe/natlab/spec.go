package natlab

import (
	"fmt"
	"slices"
	"time"
)

// Timers that Linux uses when nobody sets any: net.netfilter.nf_conntrack_udp_timeout
// and nf_conntrack_udp_timeout_stream, since the end of 2018.
const (
	DefaultSolitary = 30 * time.Second
	DefaultStream   = 120 * time.Second
)

// MaxNATs is the longest chain that a lab builds. Real paths have one or two;
// the limit keeps typing errors from making hundreds of namespaces.
const MaxNATs = 16

// maxTimer keeps a timer within what the kernel takes (32 bits of ticks of up
// to 1 ms, compared as signed numbers) and within reason.
const maxTimer = 24 * time.Hour

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
}

// NATSpec describes one box. The zero value is a Linux router as it comes:
// masquerading, ports preserved where possible, timers of 30 s and 120 s, and
// no firewall on its own address.
type NATSpec struct {
	// Solitary is how long a mapping lives until it counts as a stream, in
	// whole seconds; 0 means DefaultSolitary.
	Solitary time.Duration
	// Stream is how long a mapping lives once a reply was seen and another
	// packet came more than 2 s after the first, in whole seconds; 0 means
	// DefaultStream.
	Stream time.Duration
	// RandomPorts gives each mapping a random external port. Otherwise the
	// client's port is preserved unless it is taken.
	RandomPorts bool
	// Strict drops what is sent to the box's own outer address. Without it,
	// a packet for a mapping that has expired leaves state of its own behind,
	// which then holds the port that the client's next packet would have got.
	Strict bool
	// None means no translation: the box is a stateful firewall that lets in
	// only what belongs to flows begun from inside.
	None bool
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
// only with a packet that comes more than 2 s after the first. What is true
// elsewhere is Spec{NATs: s.Elsewhere}.Truth().
func (s Spec) Truth() Timers {
	var t Timers
	for i, nat := range s.NATs {
		nat = nat.withDefaults()
		if i == 0 || nat.Solitary < t.Solitary {
			t.Solitary = nat.Solitary
		}
		if i == 0 || nat.Stream < t.Stream {
			t.Stream = nat.Stream
		}
	}
	t.Oneway, t.Exchange = t.Solitary, t.Solitary
	return t
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
	if err := validateChain("NAT", s.NATs); err != nil {
		return err
	}
	return validateChain("NAT elsewhere", s.Elsewhere)
}

func validateChain(name string, nats []NATSpec) error {
	if len(nats) > MaxNATs {
		return fmt.Errorf("%s %d: at most %d in a row", name, len(nats)-1, MaxNATs)
	}
	for i, nat := range nats {
		if err := nat.withDefaults().validateTimers(); err != nil {
			return fmt.Errorf("%s %d: %w", name, i, err)
		}
	}
	return nil
}

// defaulted returns a copy of a chain with defaults filled in.
func defaulted(nats []NATSpec) []NATSpec {
	nats = slices.Clone(nats)
	for i := range nats {
		nats[i] = nats[i].withDefaults()
	}
	return nats
}

func (n NATSpec) withDefaults() NATSpec {
	if n.Solitary == 0 {
		n.Solitary = DefaultSolitary
	}
	if n.Stream == 0 {
		n.Stream = DefaultStream
	}
	return n
}

func (n NATSpec) validateTimers() error {
	for _, timer := range []struct {
		name string
		d    time.Duration
	}{{"solitary", n.Solitary}, {"stream", n.Stream}} {
		// The kernel takes these timers in whole seconds.
		if timer.d < time.Second || timer.d > maxTimer || timer.d%time.Second != 0 {
			return fmt.Errorf("%s timer %v: must be whole seconds from 1s to %v", timer.name, timer.d, maxTimer)
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
