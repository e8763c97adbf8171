package natmodel

import "time"

// linuxStreamAfter is the age at which Linux conntrack takes a UDP flow for a
// stream: fixed in nf_conntrack_proto_udp.c since the end of 2018.
const linuxStreamAfter = 2 * time.Second

// Linux returns a Linux router that masquerades, without an input firewall.
// unreplied is nf_conntrack_udp_timeout (30 s in a stock kernel), stream is
// nf_conntrack_udp_timeout_stream (120 s; 180 s before the end of 2018). Set
// Ports to Random for a masquerade rule with "random". External is for the
// caller to fill in, as with all presets that translate.
func Linux(unreplied, stream time.Duration) Config {
	return Config{
		Mapping:     AddressAndPortDependent,
		Filtering:   AddressAndPortDependent,
		Ports:       Preserve,
		PortOverlap: true,
		Timers: Timers{
			Solitary: unreplied,
			Oneway:   unreplied,
			Exchange: unreplied,
			Stream:   stream,
		},
		StreamAfter:    linuxStreamAfter,
		RefreshInbound: true,
		Full:           EvictUnreplied,
		WANInput:       Accept,
	}
}

// OpenWrt returns an OpenWrt router: Linux with 60 s and 180 s, and a firewall
// that drops what comes in to the router itself.
func OpenWrt() Config {
	c := Linux(60*time.Second, 180*time.Second)
	c.WANInput = Drop
	return c
}

// PF returns a router with BSD's pf and its default timers: 60 s after a first
// packet, 30 s while only one side sends, 60 s once both have. One thing is
// simpler than in pf: several packets from outside in a row, without one from
// inside between them, count as both sides sending. pf removes expired states
// every 10 s only; set Sweep to model that.
func PF() Config {
	return Config{
		Mapping:     AddressAndPortDependent,
		Filtering:   AddressAndPortDependent,
		Ports:       Random,
		PortOverlap: true,
		Timers: Timers{
			Solitary: 60 * time.Second,
			Oneway:   30 * time.Second,
			Exchange: 60 * time.Second,
			Stream:   60 * time.Second,
		},
		RefreshInbound: true,
	}
}

// Flat returns a NAT with one timer for everything that behaves as RFC 4787 asks
// for: endpoint-independent mapping, address-dependent filtering, ports preserved.
func Flat(lifetime time.Duration) Config {
	return Config{
		Mapping:        EndpointIndependent,
		Filtering:      AddressDependent,
		Ports:          Preserve,
		Timers:         FlatTimers(lifetime),
		RefreshInbound: true,
	}
}

// Firewall returns a stateful firewall without translation, as routers have for
// IPv6 (RFC 6092: 120 s at least, 300 s by default).
func Firewall(lifetime time.Duration) Config {
	return Config{
		NoTranslation:  true,
		Filtering:      AddressAndPortDependent,
		Timers:         FlatTimers(lifetime),
		RefreshInbound: true,
	}
}
