package memory

import (
	"time"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/network"
)

// Entry is what is known of one network for one family of addresses.
type Entry struct {
	Network network.ID     `json:"network"`
	Label   string         `json:"label"` // for a person
	Family  results.Family `json:"family"`
	// IntervalS is the keepalive that follows, seconds; 0: none is needed.
	IntervalS      int                     `json:"interval_s"`
	Lifetimes      []results.Lifetime      `json:"lifetimes"`
	Recommendation *results.Recommendation `json:"recommendation"`
	MeasuredAt     time.Time               `json:"measured_at"`
	VerifiedAt     time.Time               `json:"verified_at,omitzero"` // zero: not since
}

// valid tells whether an entry can be relied on.
func (e Entry) valid() bool {
	return e.Network.Valid() && (e.Family == results.IPv4 || e.Family == results.IPv6) &&
		e.IntervalS >= 0 && e.IntervalS <= results.MaxGapS && !e.MeasuredAt.IsZero()
}

type key struct {
	network network.ID
	family  results.Family
}

func (e Entry) key() key { return key{e.Network, e.Family} }
