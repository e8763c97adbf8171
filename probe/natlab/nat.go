package natlab

import (
	"errors"
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

// Bounds of what a box may have, so that typing errors are found.
const (
	// maxTimer keeps a timer within what the kernel takes (32 bits of ticks of
	// up to 1 ms, compared as signed numbers) and within reason.
	maxTimer = 24 * time.Hour
	// maxPorts keeps a block below the ports that systems use for clients.
	maxPorts = 16384
	// maxAddresses fits into a link's prefix.
	maxAddresses = 64
	maxTable     = 1_000_000
)

// firstPort is the lowest external port of a box with few of them. The block
// lies below the ports that systems use for clients, so that none of these is
// preserved.
const firstPort = 4096

// dnsPort is DNS's (RFC 1035 section 4.2).
const dnsPort = 53

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
	// ServerSide puts the box into the server's network, in front of it: a
	// stateful firewall that lets flows in to the server, and out only what
	// belongs to them, as cloud providers' security groups do. It is made of
	// the same rules as one on the client's side, None included; what differs is
	// whose timers they are (Spec.Egress). Such boxes come last.
	ServerSide bool
	// Ports is how many external ports the box has for the client, as a
	// carrier's NAT that deals them out in blocks; 0 means all there are. The
	// client gets no more flows to one remote endpoint at a time: what would
	// begin another is dropped.
	Ports int
	// Addresses is how many external addresses the box has; 0 means one. Each
	// mapping gets any of them, whatever the client's others have ("arbitrary"
	// in RFC 4787 section 4.1).
	Addresses int
	// Filtering says what comes in besides the packets of flows; the zero value
	// means nothing. Otherwise UDP that belongs to no flow is handed to the
	// client too, with its port kept. Where filtering is AddressDependent that
	// goes on for the stream timer from the last packet to that address, so this
	// timer holds in all regimes, unless the other one is longer. Where it is
	// EndpointIndependent it never ends, and nothing expires; it doesn't even
	// take a mapping, as behind a router with an "exposed host". Spec.Truth knows
	// of both. Only the kernel's boxes have it.
	Filtering Filtering
	// DNS is how long mappings of flows to port 53 live, whatever they saw, in
	// whole seconds; 0 means as long as all others. RFC 4787 REQ-5 allows
	// less than its two minutes for well-known ports.
	DNS time.Duration

	// What the kernel's boxes can't do, and only emulated ones have:

	// EndpointIndependent uses one mapping for all flows of a client's socket,
	// and lets everybody in through it (RFC 4787 sections 4.1 and 5), as long as
	// it lives.
	EndpointIndependent bool
	// OutboundOnly lets only outbound packets refresh a mapping, which
	// RFC 4787 REQ-6 allows.
	OutboundOnly bool
	// Sweep is how often the box looks for expired mappings, which live on
	// until then; 0 means that they end at once.
	Sweep time.Duration
	// Table is how many mappings there may be; 0 means any number. For one
	// more, the oldest that never saw a reply has to go.
	Table int
}

// timers returns how long mappings of flows to a port live.
func (n NATSpec) timers(port uint16) (solitary, stream time.Duration) {
	if port == dnsPort && n.DNS > 0 {
		return n.DNS, n.DNS
	}
	return n.Solitary, n.Stream
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

// defaulted returns a copy of a chain with defaults filled in.
func defaulted(nats []NATSpec) []NATSpec {
	nats = slices.Clone(nats)
	for i := range nats {
		nats[i] = nats[i].withDefaults()
	}
	return nats
}

// validate reports the first field of a box, defaults filled in, that none can
// have.
func (n NATSpec) validate() error {
	if err := n.validateTimers(); err != nil {
		return err
	}
	for _, number := range []struct {
		name     string
		n, limit int
	}{{"ports", n.Ports, maxPorts}, {"addresses", n.Addresses, maxAddresses}, {"table", n.Table, maxTable}} {
		if number.n < 0 || number.n > number.limit {
			return fmt.Errorf("%s %d: must be from 1 to %d, or 0 for the default", number.name, number.n, number.limit)
		}
	}
	switch {
	case n.Sweep < 0 || n.Sweep > maxTimer:
		return fmt.Errorf("sweep %v: must be from 0 to %v", n.Sweep, maxTimer)
	case n.None && (n.Ports > 0 || n.Addresses > 1 || n.RandomPorts || n.EndpointIndependent):
		return errors.New("a firewall doesn't translate: it has no ports or addresses to give, and no mapping that could be endpoint-independent")
	case n.EndpointIndependent && n.DNS > 0:
		return errors.New("an endpoint-independent mapping has one timer for all remote ports, DNS's included")
	}
	return n.validateFiltering()
}

func (n NATSpec) validateTimers() error {
	for _, timer := range []struct {
		name string
		d    time.Duration
	}{{"solitary", n.Solitary}, {"stream", n.Stream}, {"DNS", n.DNS}} {
		if timer.name == "DNS" && timer.d == 0 {
			continue
		}
		// The kernel takes these timers in whole seconds.
		if timer.d < time.Second || timer.d > maxTimer || timer.d%time.Second != 0 {
			return fmt.Errorf("%s timer %v: must be whole seconds from 1s to %v", timer.name, timer.d, maxTimer)
		}
	}
	return nil
}

// validateMadeOf reports what the kernel's boxes can't do, or emulated ones.
func (n NATSpec) validateMadeOf(emulated bool) error {
	if what := n.emulatedOnly(); what != "" && !emulated {
		return fmt.Errorf("%s: the kernel's boxes can't do that, only emulated ones", what)
	}
	if n.Filtering != "" && emulated {
		return fmt.Errorf("filtering %s: emulated boxes can't do that, only the kernel's", n.Filtering)
	}
	return nil
}

// emulatedOnly names what the kernel's boxes can't do, or nothing.
func (n NATSpec) emulatedOnly() string {
	switch {
	case n.EndpointIndependent:
		return "endpoint-independent"
	case n.OutboundOnly:
		return "refreshed by outbound packets only"
	case n.Sweep > 0:
		return "sweep"
	case n.Table > 0:
		return "table"
	}
	return ""
}
