package tuner

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn"
)

// Applier is a WireGuard interface whose intervals can be set.
type Applier interface {
	Peers() ([]vpn.PeerState, error)
	// SetKeepalive makes an interval count at once, in seconds; 0: none are
	// sent.
	SetKeepalive(ctx context.Context, peer vpn.PublicKey, seconds uint16) error
}

// Target is the path to measure.
type Target struct {
	Peer     vpn.PublicKey
	Endpoint netip.AddrPort
}

// Measurer measures paths on flows of its own, apart from the tunnel's.
type Measurer interface {
	// Measure measures the lifetimes of mappings on the path. The record may be
	// of use although there is an error.
	Measure(ctx context.Context, to Target) (*results.Record, error)
	// Verify tries with a few flows whether an interval holds.
	Verify(ctx context.Context, to Target, interval time.Duration) (*results.Verification, error)
}

// ErrNoReflector is what a Measurer returns where nobody answers it. The tuner
// tries again, ever more rarely, and keeps what is set.
var ErrNoReflector = errors.New("nobody on the path answers measurements")

// ErrOffline is what a Locator returns where there is no network.
var ErrOffline = errors.New("no network")

// Network is where the machine is.
type Network struct {
	ID    string // the same whenever the machine is there
	Label string // for a person
	// Local is this machine's address there. Where only that changes, the path
	// begins anew in the same network.
	Local netip.Addr
	// Unsure says that the gateway hasn't told its hardware address yet, so that
	// other networks may have this ID as well.
	Unsure bool
}

// mayBe says whether a network that one isn't sure of may be another one.
func (n Network) mayBe(other Network) bool {
	return n.Unsure && n.Label == other.Label && n.Local == other.Local
}

// Locator tells through which network packets to an address leave. Its error
// wraps ErrOffline where there is none.
type Locator func(to netip.Addr) (Network, error)

// Known is what is remembered of a network for one family of addresses.
type Known struct {
	Network        string
	Label          string
	Family         results.Family
	IntervalS      int
	Lifetimes      []results.Lifetime
	Recommendation *results.Recommendation
	MeasuredAt     time.Time
	VerifiedAt     time.Time
}

// Memory keeps what is known of networks.
type Memory interface {
	Recall(network string, family results.Family) (Known, bool)
	// Remember replaces what was known. With an error it is remembered for this
	// process only.
	Remember(Known) error
	// Forget makes a network unknown: what was remembered is wrong.
	Forget(network string, family results.Family) error
}
