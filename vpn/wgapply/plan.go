package wgapply

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/natprobe/natprobe/vpn"
)

// Change is what becomes of the persistent keepalive of one peer, in seconds; 0
// means that none are sent.
type Change struct {
	Interface string
	Peer      vpn.PublicKey
	Old, New  uint16
}

// Needed tells whether anything changes.
func (c Change) Needed() bool { return c.Old != c.New }

// String returns "wg0: peer KEY: persistent keepalive 25 s becomes 52 s".
func (c Change) String() string {
	if !c.Needed() {
		return fmt.Sprintf("%s: peer %s: persistent keepalive %s stays", c.Interface, c.Peer, interval(c.Old))
	}
	return fmt.Sprintf("%s: peer %s: persistent keepalive %s becomes %s", c.Interface, c.Peer, interval(c.Old), interval(c.New))
}

func interval(seconds uint16) string {
	if seconds == 0 {
		return "off"
	}
	return fmt.Sprintf("%d s", seconds)
}

// Plan tells what setting the wanted intervals, in seconds, would change, in the
// order of peers; a peer that has its interval already is listed, too. The error
// names the wanted peers that the interface doesn't have (ErrNoPeer); the changes
// are those of the others.
func Plan(name string, peers []vpn.PeerState, want map[vpn.PublicKey]uint16) ([]Change, error) {
	absent := maps.Clone(want)
	changes := make([]Change, 0, len(want))
	for _, p := range peers {
		value, ok := absent[p.PublicKey]
		if !ok {
			continue
		}
		delete(absent, p.PublicKey)
		changes = append(changes, Change{Interface: name, Peer: p.PublicKey, Old: seconds(p.Keepalive), New: value})
	}
	var errs []error
	for _, peer := range slices.SortedFunc(maps.Keys(absent), byText) {
		errs = append(errs, noPeer(name, peer))
	}
	return changes, errors.Join(errs...)
}

// byText sorts keys as they are printed.
func byText(a, b vpn.PublicKey) int {
	return slices.Compare([]byte(a.String()), []byte(b.String()))
}
