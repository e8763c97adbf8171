package memory

import (
	"math"
	"slices"
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
	IntervalS int `json:"interval_s"`
	// Lateness is how late keepalives fire for which that holds, as a factor;
	// 0: on time.
	Lateness       float64                 `json:"lateness,omitzero"`
	Lifetimes      []results.Lifetime      `json:"lifetimes"`
	Recommendation *results.Recommendation `json:"recommendation"`
	MeasuredAt     time.Time               `json:"measured_at"`
	VerifiedAt     time.Time               `json:"verified_at,omitzero"` // zero: not since
}

// valid tells whether an entry can be relied on.
func (e Entry) valid() bool {
	return e.Network.Valid() && (e.Family == results.IPv4 || e.Family == results.IPv6) &&
		e.IntervalS >= 0 && e.IntervalS <= math.MaxUint16 && !e.MeasuredAt.IsZero()
}

// clone copies an entry with all that it refers to, and times as the file would
// have them.
func (e Entry) clone() Entry {
	e.MeasuredAt, e.VerifiedAt = e.MeasuredAt.Round(0), e.VerifiedAt.Round(0)
	e.Lifetimes = slices.Clone(e.Lifetimes)
	for i := range e.Lifetimes {
		e.Lifetimes[i].UpperS = copyOf(e.Lifetimes[i].UpperS)
	}
	e.Recommendation = copyOf(e.Recommendation)
	if r := e.Recommendation; r != nil {
		r.KeepaliveS, r.FallbackS = copyOf(r.KeepaliveS), copyOf(r.FallbackS)
		r.Alternatives = slices.Clone(r.Alternatives)
	}
	return e
}

// copyOf returns a pointer to a copy; nil for nil.
func copyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

type key struct {
	network network.ID
	family  results.Family
}

func (e Entry) key() key { return key{e.Network, e.Family} }
