// Package natmodel is a NAT, or a stateful firewall, as a pure state machine.
//
// Packets go in together with the time, packets come out. There are no
// goroutines, no clocks and no package state, and all chance comes from a seed,
// so the same inputs always give the same outputs. Millions of modelled boxes
// can run in one process.
//
// The words are those of RFC 4787: mapping and filtering are
// endpoint-independent, address-dependent or address-and-port-dependent;
// outbound refresh always happens, inbound refresh is an option (REQ-6); a pool
// of addresses is paired or arbitrary (REQ-2).
//
// What it models beyond the RFC is what breaks naive measurements of lifetimes:
// several timers for one mapping, chosen by the traffic it has seen; timers that
// are enforced only by a periodic sweep; tables that fill up; external ports that
// stay blocked after a stray packet; loss of all mappings; and NATs in a row.
//
// It models UDP only, without ICMP, hairpinning or fragments.
package natmodel
