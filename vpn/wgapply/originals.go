package wgapply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/statefile"
)

// Originals keeps the intervals that peers had before natprobe changed them, in
// the file applied.json of a folder, so that they can be brought back later and
// by another process. Of the changes that natprobe makes one after the other, the
// interval before the first one counts. Where somebody else sets an interval
// between them, or the interface was made anew, that one counts from then on.
//
// Where the folder can't be written, what would be in the file is kept in memory.
// Methods may be called from several goroutines, and several processes may have
// the same folder.
type Originals struct {
	dir string

	mu sync.Mutex
	// unsaved is what this process couldn't write yet: an entry, or nil for one
	// that is to be forgotten.
	unsaved map[place]*entry
}

// StoreError tells that the originals aren't kept as they should be. It never
// means that an interval wasn't set.
type StoreError struct {
	// Path is the file; empty where there is no folder.
	Path string
	// Aside is where a damaged file was moved; empty where none was.
	Aside string
	Err   error
}

// Error says what can't be undone.
func (e *StoreError) Error() string {
	switch {
	case e.Aside != "":
		return fmt.Sprintf("%s is damaged (%v) and was set aside as %s: intervals that natprobe changed before can't be reverted", e.Path, e.Err, e.Aside)
	case e.Path == "":
		return "there is no folder to keep the intervals in that peers had before: another process can't revert what this one changes"
	}
	return fmt.Sprintf("the intervals that peers had before can't be kept in %s (%v): another process can't revert what this one changes", e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.Err }

// place is where an interval is.
type place struct {
	name string
	peer vpn.PublicKey
}

// entry is what is kept of a peer.
type entry struct {
	// original is the interval before natprobe, in seconds.
	original uint16
	// ours are the last one or two that natprobe set; two, because the process
	// may end between noting the second and setting it.
	ours []uint16
}

func (e entry) equal(other entry) bool {
	return e.original == other.original && slices.Equal(e.ours, other.ours)
}

// next is what to keep of a peer where the interval now in force is to be
// replaced.
func (e *entry) next(now, value uint16) entry {
	switch {
	case e == nil:
		return entry{original: now, ours: []uint16{value}}
	case slices.Contains(e.ours, now):
		return entry{original: e.original, ours: slices.Compact([]uint16{now, value})}
	}
	return entry{original: now, ours: []uint16{value}}
}

// OpenOriginals returns the store in a folder, which is made when it is needed.
// An empty dir stands for none. The store is usable also where there is an error,
// a *[StoreError] always.
func OpenOriginals(dir string) (*Originals, error) {
	o := &Originals{dir: dir, unsaved: make(map[place]*entry)}
	_, err := o.read()
	return o, err
}

func (o *Originals) path() string {
	if o.dir == "" {
		return ""
	}
	return filepath.Join(o.dir, "applied.json")
}

// SetKeepalive notes which interval the peer has and then sets another, as
// [Interface.SetKeepalive] does. The change says what became of it; its Old and
// New are the same where nothing was to be done. Where errors.As finds a
// *[StoreError] and the change is needed, the interval was set but can't be
// reverted by another process; with any other error it was not set, or not
// confirmed.
func (o *Originals) SetKeepalive(ctx context.Context, i *Interface, peer vpn.PublicKey, value uint16) (Change, error) {
	state, err := i.device(ctx)
	if err != nil {
		return Change{}, err
	}
	now, ok := state.keepalive(peer)
	if !ok {
		return Change{}, noPeer(i.name, peer)
	}
	change := Change{Interface: i.name, Peer: peer, Old: now, New: value}
	if !change.Needed() {
		return change, nil
	}
	at := place{i.name, peer}
	warning := o.update(ctx, func(all map[place]entry) {
		var known *entry
		if e, ok := all[at]; ok {
			known = &e
		}
		all[at] = known.next(now, value)
	})
	if err := ctx.Err(); err != nil {
		return Change{}, err
	}
	if err := i.SetKeepalive(ctx, peer, value); err != nil {
		return Change{}, err
	}
	return change, warning
}

// read returns what is kept, in the file and in memory. It is right as far as it
// goes also where there is an error.
func (o *Originals) read() (map[place]entry, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dir == "" {
		return o.overlay(nil), nil
	}
	saved, err := load(o.path())
	if err != nil {
		err = o.storeError(err)
	}
	return o.overlay(saved), err
}

// update changes what is kept: in the file, or in memory where that can't be
// written. The error is a *StoreError.
func (o *Originals) update(ctx context.Context, change func(map[place]entry)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dir == "" {
		all := o.overlay(nil)
		change(all)
		o.remember(all, nil)
		return &StoreError{}
	}
	unlock, err := o.lock(ctx)
	defer unlock()
	saved, readErr := load(o.path())
	// A damaged file that was set aside is no obstacle to writing a new one.
	var damaged *StoreError
	if !errors.As(readErr, &damaged) {
		err = errors.Join(err, readErr)
	}
	all := o.overlay(saved)
	change(all)
	if err == nil {
		err = save(o.path(), all)
	}
	switch {
	case err != nil:
		o.remember(all, saved)
		return o.storeError(err)
	case damaged != nil:
		clear(o.unsaved)
		return damaged
	}
	clear(o.unsaved)
	return nil
}

// lock keeps other processes off the file until unlock is called; that may be
// called also where there is an error. The folder is made when it is needed.
func (o *Originals) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return func() {}, err
	}
	unlock, err = statefile.Lock(ctx, filepath.Join(o.dir, "applied.lock"))
	if err != nil {
		return func() {}, err
	}
	return unlock, nil
}

func (o *Originals) storeError(err error) error {
	var e *StoreError
	if errors.As(err, &e) {
		return e
	}
	return &StoreError{Path: o.path(), Err: err}
}

// overlay puts what is in memory over what is in the file.
func (o *Originals) overlay(saved map[place]entry) map[place]entry {
	all := make(map[place]entry, len(saved)+len(o.unsaved))
	maps.Copy(all, saved)
	for at, e := range o.unsaved {
		if e == nil {
			delete(all, at)
		} else {
			all[at] = *e
		}
	}
	return all
}

// remember keeps in memory how all differs from the file.
func (o *Originals) remember(all, saved map[place]entry) {
	clear(o.unsaved)
	for at, e := range all {
		if old, ok := saved[at]; !ok || !old.equal(e) {
			o.unsaved[at] = &e
		}
	}
	for at := range saved {
		if _, ok := all[at]; !ok {
			o.unsaved[at] = nil
		}
	}
}
