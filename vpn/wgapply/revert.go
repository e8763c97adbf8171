package wgapply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/natprobe/natprobe/vpn"
)

// Outcome is what becomes of a peer's interval when natprobe's changes are taken
// back.
type Outcome string

// The outcomes.
const (
	// Restored: the original interval is back.
	Restored Outcome = "restored"
	// AsBefore: the original interval was in force already.
	AsBefore Outcome = "as before"
	// SetByOthers: somebody else set an interval after natprobe, which stays.
	SetByOthers Outcome = "set by others"
	// Gone: the interface doesn't have the peer any more.
	Gone Outcome = "gone"
)

// Reversal is what taking back does to one peer. The change's New is the interval
// after it.
type Reversal struct {
	Change
	Outcome Outcome
}

// String returns a line for a person.
func (r Reversal) String() string {
	where := fmt.Sprintf("%s: peer %s: ", r.Interface, r.Peer)
	switch r.Outcome {
	case Gone:
		return where + "is gone, and so is what natprobe changed"
	case SetByOthers:
		return where + fmt.Sprintf("persistent keepalive %s stays: somebody else set it after natprobe", interval(r.Old))
	case AsBefore:
		return where + fmt.Sprintf("persistent keepalive %s is as it was before natprobe", interval(r.Old))
	case Restored:
	}
	return r.Change.String() + ", as it was before natprobe"
}

// PlanRevert tells what Revert would do, in the order of keys; nothing where
// natprobe changed nothing of this interface. A *[StoreError] is a warning: what
// this process knows is in the list.
func (o *Originals) PlanRevert(ctx context.Context, i *Interface) ([]Reversal, error) {
	state, err := i.device(ctx)
	if err != nil {
		return nil, err
	}
	all, warning := o.read()
	mine := make(map[vpn.PublicKey]entry)
	for at, e := range all {
		if at.name == i.name {
			mine[at.peer] = e
		}
	}
	reversals := make([]Reversal, 0, len(mine))
	for _, peer := range slices.SortedFunc(maps.Keys(mine), byText) {
		e := mine[peer]
		now, ok := state.keepalive(peer)
		r := Reversal{Change: Change{Interface: i.name, Peer: peer, Old: now, New: now}}
		switch {
		case !ok:
			r.Outcome = Gone
		case now == e.original:
			r.Outcome = AsBefore
		case !slices.Contains(e.ours, now):
			r.Outcome = SetByOthers
		default:
			r.New, r.Outcome = e.original, Restored
		}
		reversals = append(reversals, r)
	}
	return reversals, warning
}

// Revert gives the peers of an interface the intervals back that they had before
// natprobe, and forgets them. What somebody else set after natprobe stays. The
// list says what became of each; a peer whose interval couldn't be set is not in
// it, isn't forgotten, and is in the error. A *[StoreError] is a warning: what is
// in the list was done.
func (o *Originals) Revert(ctx context.Context, i *Interface) ([]Reversal, error) {
	plan, err := o.PlanRevert(ctx, i)
	var warning *StoreError
	if err != nil && !errors.As(err, &warning) {
		return nil, err
	}
	var (
		done []Reversal
		errs []error
	)
	for _, r := range plan {
		if r.Needed() {
			err := i.SetKeepalive(ctx, r.Peer, r.New)
			if errors.Is(err, ErrNoPeer) {
				r.New, r.Outcome = r.Old, Gone
			} else if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		done = append(done, r)
	}
	if len(done) > 0 {
		// What was done is to be forgotten also where ctx has ended meanwhile.
		forget := o.update(context.WithoutCancel(ctx), func(all map[place]entry) {
			for _, r := range done {
				delete(all, place{i.name, r.Peer})
			}
		})
		if forget != nil {
			err = forget
		}
	}
	return done, errors.Join(append(errs, err)...)
}
