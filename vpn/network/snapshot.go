package network

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
)

// ErrOffline says that packets to an address can't leave this machine: there is
// no route to it, or the interface that the route names has no carrier.
var ErrOffline = errors.New("offline")

// Kind is what sort of interface leads to a network.
type Kind string

// The kinds of interfaces.
const (
	Ethernet     Kind = "ethernet" // wired, or what behaves like it
	Wireless     Kind = "wireless"
	PointToPoint Kind = "point-to-point" // ppp, modems, tunnels
	Loopback     Kind = "loopback"
	OtherKind    Kind = "other"
)

// Snapshot is the network through which packets to one address leave. All ways
// of printing show the interface, the gateway's address and the prefix, and
// nothing else: see [Snapshot.String].
type Snapshot struct {
	Interface string
	Kind      Kind
	// Gateway is not valid where packets leave without one, and where the
	// system doesn't tell. It has no zone.
	Gateway netip.Addr
	// GatewayMAC is empty where it is not known: see Weak.
	GatewayMAC net.HardwareAddr
	// Prefix is the network that Local is in, without the bits behind it.
	Prefix netip.Prefix
	// SSID is the name of the wireless network; empty where there is none or
	// where the system doesn't tell.
	SSID string
	// Local is the address that packets leave from. It is no part of the ID.
	Local netip.Addr
	// Weak says that GatewayMAC is missing, so that the ID rests on addresses
	// that other networks may have as well. With a valid Gateway, Ethernet or
	// Wireless, the address may become known a little later: Watch signals it.
	Weak bool
}

// Label describes the network to a person, without private facts:
// "wlan0, gateway 192.168.1.1, 192.168.1.0/24".
func (s Snapshot) Label() string {
	label := s.Interface
	if label == "" {
		label = "no interface"
	}
	if s.Gateway.IsValid() {
		label += ", gateway " + s.Gateway.WithZone("").String()
	}
	if text := shown(s.Prefix); text != "" {
		label += ", " + text
	}
	return label
}

// String is Label.
func (s Snapshot) String() string { return s.Label() }

// Format writes String whatever the verb, so that %+v shows no more than %s.
func (s Snapshot) Format(f fmt.State, _ rune) {
	// A writer that fails is the business of whoever prints.
	_, _ = io.WriteString(f, s.Label())
}

// LogValue shows in logs what String shows.
func (s Snapshot) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("interface", s.Interface)}
	if s.Gateway.IsValid() {
		attrs = append(attrs, slog.String("gateway", s.Gateway.WithZone("").String()))
	}
	if text := shown(s.Prefix); text != "" {
		attrs = append(attrs, slog.String("prefix", text))
	}
	return slog.GroupValue(attrs...)
}

// MarshalText gives codecs, that of JSON among them, what String shows.
func (s Snapshot) MarshalText() ([]byte, error) { return []byte(s.Label()), nil }

// shown returns the prefix as it may be printed. One of a few addresses is
// almost the address of this machine; only its class is shown.
func shown(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return ""
	case p.Addr().Is6() && p.Bits() > 64:
		return netip.PrefixFrom(p.Addr(), 64).Masked().String()
	case tiny(p):
		return classOf(p.Addr()) + " addresses"
	}
	return p.Masked().String()
}

// tiny says whether a prefix has so few addresses that it is a lease rather
// than a network: a /30 and smaller, for IPv6 anything smaller than a /64.
func tiny(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() >= 30
	}
	return p.Bits() > 64
}

// The classes of addresses.
const (
	classLoopback  = "loopback"
	classLinkLocal = "link-local"
	classPrivate   = "private"     // RFC 1918; RFC 4193 for IPv6
	classShared    = "carrier NAT" // RFC 6598
	classPublic    = "public"
)

// carrierNAT is RFC 6598's shared address space.
var carrierNAT = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)

// classOf returns what sort of address a is.
func classOf(a netip.Addr) string {
	switch {
	case a.IsLoopback():
		return classLoopback
	case a.IsLinkLocalUnicast():
		return classLinkLocal
	case a.IsPrivate():
		return classPrivate
	case carrierNAT.Contains(a):
		return classShared
	}
	return classPublic
}
