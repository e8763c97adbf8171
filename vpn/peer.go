package vpn

import (
	"net/netip"
	"time"
)

// PeerState is what a running WireGuard interface says of one peer.
type PeerState struct {
	PublicKey PublicKey
	// Endpoint is where packets for the peer go now; not valid where none is
	// known.
	Endpoint netip.AddrPort
	// Keepalive is the interval in force, whole seconds; 0: none are sent.
	Keepalive time.Duration
	// LastHandshake is zero where there was none.
	LastHandshake time.Time
	// ReceivedBytes and SentBytes count whole WireGuard messages, without IP and
	// UDP headers.
	ReceivedBytes, SentBytes uint64
}
