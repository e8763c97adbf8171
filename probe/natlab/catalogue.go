package natlab

import (
	"fmt"
	"strings"
	"time"
)

// Catalogue returns the labs that have a name, in the order in which to
// present them. The slice and what it holds are the caller's.
func Catalogue() []Spec {
	// Short timers keep a demonstration short; nothing else about such a lab
	// differs from a home router.
	const short, shortStream = 6 * time.Second, 12 * time.Second
	return []Spec{
		{
			Name:    "fast",
			Summary: "a home router with very short timers, for trying things out",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream}},
		},
		{
			Name:    "linux-default",
			Summary: "a Linux router with the kernel's own timers",
			NATs:    []NATSpec{{Solitary: DefaultSolitary, Stream: DefaultStream}},
		},
		{
			Name:    "openwrt",
			Summary: "a router with OpenWrt's timers and its closed WAN side",
			// OpenWrt rejects what comes in to its WAN address, which leaves
			// as little state as dropping it.
			NATs: []NATSpec{{Solitary: 60 * time.Second, Stream: 180 * time.Second, Strict: true}},
		},
		{
			Name:    "random-port",
			Summary: "a NAT that gives every mapping a random port",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream, RandomPorts: true}},
		},
		{
			Name:    "cgn",
			Summary: "a home router behind a carrier's NAT with shorter timers",
			NATs: []NATSpec{
				{Solitary: short, Stream: shortStream},
				{Solitary: 4 * time.Second, Stream: 9 * time.Second},
			},
		},
		{
			Name:    "lossy",
			Summary: "a home router on a line that loses every tenth packet, both ways",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream}},
			Loss:    0.1,
		},
		{
			Name:    "strict",
			Summary: "a home router that drops what is sent to its own address",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream, Strict: true}},
		},
		{
			Name:    "firewall6",
			Summary: "an IPv6 firewall: it translates nothing, but forgets flows as a NAT does",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream, None: true}},
			Family:  IPv6,
		},
		{
			Name:    "chain",
			Summary: "three NATs in a row: streams end at the middle one, all else at the outer one",
			NATs: []NATSpec{
				{Solitary: short, Stream: shortStream},
				{Solitary: 8 * time.Second, Stream: 9 * time.Second},
				{Solitary: 4 * time.Second, Stream: 16 * time.Second, Strict: true},
			},
		},
		{
			Name:    "port-block",
			Summary: "a carrier's NAT that gives each client 64 ports and no more",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream, Ports: 64}},
		},
		{
			Name:    "pool",
			Summary: "a carrier's NAT that gives each flow one of 4 addresses",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream, Addresses: 4}},
		},
		{
			Name:    "dns-short",
			Summary: "a NAT that forgets flows to port 53 after 3 s, whatever they saw, and others after 6 and 12 s",
			NATs:    []NATSpec{{Solitary: short, Stream: shortStream, DNS: 3 * time.Second}},
			Port:    dnsPort,
		},
		{
			Name:    "reflector-firewall",
			Summary: "a NAT on a path whose short timers are a firewall's in front of the reflector",
			NATs: []NATSpec{
				{Solitary: 15 * time.Second, Stream: 30 * time.Second},
				{Solitary: short, Stream: shortStream, None: true, ServerSide: true},
			},
		},
		{
			Name:     "endpoint-independent",
			Summary:  "a NAT with one mapping for all peers of a socket, open to everybody",
			NATs:     []NATSpec{{Solitary: short, Stream: shortStream, EndpointIndependent: true}},
			Emulated: true,
		},
		{
			Name:     "outbound-refresh-only",
			Summary:  "a NAT whose mappings live on by outbound packets only",
			NATs:     []NATSpec{{Solitary: short, Stream: shortStream, OutboundOnly: true}},
			Emulated: true,
		},
		{
			Name:     "lazy-sweep",
			Summary:  "a NAT that looks for expired mappings each 4 s",
			NATs:     []NATSpec{{Solitary: short, Stream: shortStream, Sweep: 4 * time.Second}},
			Emulated: true,
		},
		{
			Name:     "pressure",
			Summary:  "a NAT with room for 128 mappings, which drops the oldest without a reply for one more",
			NATs:     []NATSpec{{Solitary: short, Stream: shortStream, Table: 128}},
			Emulated: true,
		},
		{
			Name:    "open",
			Summary: "no NAT and no firewall: nothing expires",
		},
	}
}

// Find returns the lab of the catalogue with that name. Its error lists the
// names there are.
func Find(name string) (Spec, error) {
	var names []string
	for _, spec := range Catalogue() {
		if spec.Name == name {
			return spec, nil
		}
		names = append(names, spec.Name)
	}
	return Spec{}, fmt.Errorf("no lab is called %q; there are %s", name, strings.Join(names, ", "))
}
