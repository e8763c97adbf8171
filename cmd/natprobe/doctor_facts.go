package main

import (
	"net/netip"
	"time"
)

// facts are what was seen of this machine and its network. A field that says why
// something is unknown is empty where it is known.
type facts struct {
	Reflector  reflectorFact
	Paths      []pathFact // to the reflector; without one, to the Internet
	OwnTunnels []string   // interfaces that natprobe brought up
	Firewall   firewallFact
	Conntrack  conntrackFact
	Router     routerFact
	Clock      clockFact
	IPv6       ipv6Fact
	Files      filesFact
	Socket     error       // why no UDP socket can be had; nil: one can
	Places     []placeFact // files and folders that natprobe writes to
	Tunnels    tunnelsFact
}

// reflectorFact is the reflector that measure would use.
type reflectorFact struct {
	Name    string // as its user gave it; empty: there is none
	Named   bool   // Name is no address
	Err     error  // why it has no addresses
	Addrs   []netip.Addr
	Answers []answerFact // one for each family that has a route
}

// answerFact is the answer to a plain STUN request.
type answerFact struct {
	To     netip.AddrPort
	Local  netip.Addr
	Mapped netip.AddrPort
	RTT    time.Duration
	Err    error // why there is none
}

// pathFact is the way of packets to an address.
type pathFact struct {
	To        netip.Addr
	Reflector bool  // To is one, else it stands for the Internet
	Err       error // why there is no way
	Interface string
	// Kind is what the system calls this sort of interface where it is one that
	// packs packets into others: wireguard, tuntap, ppp. Empty: no such.
	Kind    string
	Gateway netip.Addr
	Local   netip.Addr
}

// firewallFact is what this machine lets in.
type firewallFact struct {
	Unknown string
	Advice  string        // how to get to know it
	Chains  []filterChain // those that drop what no rule lets in
	Legacy  bool          // there are rules of the old iptables, which nobody can list
}

// filterChain is a chain of nftables that filters what comes in, and drops what
// no rule lets in.
type filterChain struct {
	Family, Table, Name string
	Stateful            bool // lets in what belongs to a known flow
	Spares              bool // lets in all that comes from the reflector
}

// conntrackFact is the kernel's table of flows.
type conntrackFact struct {
	Unknown string
	Absent  bool // the kernel has none here
	Idle    time.Duration
	Stream  time.Duration
	Count   int
	Max     int // 0: not known
}

// routerFact is what the router says of itself.
type routerFact struct {
	Unknown string
	Outer   netip.Addr // its address on the other side
}

// clockFact is about the machine's clocks.
type clockFact struct {
	Step         time.Duration // of the wall clock against the monotonic one while doctor ran
	Slept        time.Duration // since the machine's start
	SleptUnknown string
	Synchronised bool
	SyncUnknown  string
}

// ipv6Fact is whether there is IPv6.
type ipv6Fact struct {
	Unknown string
	Address bool  // a global one
	Route   error // why nothing leads to the Internet
}

// filesFact is how many files and sockets this process may have.
type filesFact struct {
	Unknown string
	Limit   uint64
	Flows   int // that measure would have at a time
}

// placeFact is a file or folder to write to.
type placeFact struct {
	What string
	Path string
	Err  error
}

// tunnelsFact is whether "natprobe up" would have what it needs.
type tunnelsFact struct {
	Unknown string
	Admin   bool  // may change the network
	Device  error // why there are no TUN devices
}
