package probe

import (
	"crypto/rand"
	"encoding/binary"
)

// The source ports that flows use: below the range from which systems give
// ports to programs that ask for any (32768 and up on Linux, 49152 and up
// elsewhere), above the registered services that a host firewall may treat
// specially. portCount is prime, so that every stride visits every port.
const (
	firstPort = 10_007
	portCount = 22_741
)

// PortStore remembers which source ports were used, so that a later run does
// not meet the state that an earlier one left in the NAT.
type PortStore interface {
	Load() (PortState, error)
	Save(PortState) error
}

// PortState is the place in a permutation of the source ports. A lap is over
// 22,000 ports and a run takes some hundreds, so that a port returns after
// dozens of runs. The zero value starts a random permutation.
type PortState struct {
	Seed uint64 `json:"seed"`
	Next int    `json:"next"` // index of the next port to use
}

type portWalk struct{ state PortState }

func newPortWalk(s PortState) *portWalk {
	if s.Seed == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails: see crypto/rand
		s = PortState{Seed: binary.BigEndian.Uint64(b[:]) | 1}
	}
	if s.Next < 0 || s.Next >= portCount {
		s.Next = 0
	}
	return &portWalk{s}
}

// next returns the next port of the permutation: an affine walk modulo a
// prime, which visits each port once in a lap.
func (w *portWalk) next() uint16 {
	stride := 1 + w.state.Seed%(portCount-1)
	offset := (w.state.Seed >> 32) % portCount
	i := (uint64(w.state.Next)*stride + offset) % portCount //nolint:gosec // Next is below portCount
	w.state.Next = (w.state.Next + 1) % portCount
	return uint16(firstPort + i)
}
