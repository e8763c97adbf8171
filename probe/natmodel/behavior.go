package natmodel

import (
	"fmt"
	"net/netip"
)

// Dependence says how much of the remote endpoint a decision depends on: for
// mapping RFC 4787 section 4.1, for filtering section 5.
type Dependence int

const (
	// EndpointIndependent ignores the remote endpoint.
	EndpointIndependent Dependence = iota
	// AddressDependent looks at the remote address, not at its port.
	AddressDependent
	// AddressAndPortDependent looks at the remote address and port.
	AddressAndPortDependent
)

// String returns the RFC's word.
func (d Dependence) String() string {
	switch d {
	case EndpointIndependent:
		return "endpoint-independent"
	case AddressDependent:
		return "address-dependent"
	case AddressAndPortDependent:
		return "address-and-port-dependent"
	}
	return fmt.Sprintf("Dependence(%d)", int(d))
}

// of reduces a remote endpoint to the part that counts.
func (d Dependence) of(remote netip.AddrPort) netip.AddrPort {
	switch d {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	default:
		return remote
	}
}

// PortPolicy says how external ports are chosen (RFC 4787 section 4.2).
type PortPolicy int

const (
	// Preserve keeps the internal port where it is free and inside the port
	// range, and takes a random one otherwise.
	Preserve PortPolicy = iota
	// Random takes a random free port.
	Random
	// Sequential takes the next free port after the one given out last.
	Sequential
)

// String returns the policy in lower case.
func (p PortPolicy) String() string {
	switch p {
	case Preserve:
		return "preserve"
	case Random:
		return "random"
	case Sequential:
		return "sequential"
	}
	return fmt.Sprintf("PortPolicy(%d)", int(p))
}

// Pooling says which external address a new mapping gets (RFC 4787 REQ-2).
type Pooling int

const (
	// Paired gives all mappings of one internal address the same external address.
	Paired Pooling = iota
	// Arbitrary draws an external address for each mapping.
	Arbitrary
)

// String returns the RFC's word.
func (p Pooling) String() string {
	switch p {
	case Paired:
		return "paired"
	case Arbitrary:
		return "arbitrary"
	}
	return fmt.Sprintf("Pooling(%d)", int(p))
}

// WANInput says what becomes of packets that come from outside to one of the
// NAT's own addresses and belong to no mapping.
type WANInput int

const (
	// Drop discards them without a trace.
	Drop WANInput = iota
	// Accept hands them to the box itself. They don't reach the inside, but they
	// leave state, as on a Linux router without an input firewall: while that
	// state lives, the very pair of external port and remote endpoint is taken,
	// and a mapping that would preserve that port gets another one.
	Accept
)

// String returns the policy in lower case.
func (w WANInput) String() string {
	switch w {
	case Drop:
		return "drop"
	case Accept:
		return "accept"
	}
	return fmt.Sprintf("WANInput(%d)", int(w))
}

// FullPolicy says what happens to a new mapping when the table is full.
type FullPolicy int

const (
	// RefuseNew drops the packet that asks for a new mapping.
	RefuseNew FullPolicy = iota
	// EvictUnreplied removes the oldest mapping that never saw a reply and
	// refuses the new one only where there is none.
	EvictUnreplied
)

// String returns the policy in lower case.
func (f FullPolicy) String() string {
	switch f {
	case RefuseNew:
		return "refuse-new"
	case EvictUnreplied:
		return "evict-unreplied"
	}
	return fmt.Sprintf("FullPolicy(%d)", int(f))
}
