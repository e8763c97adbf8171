//go:build !linux

package network

import (
	"context"
	"sync"
	"time"
)

// pollEvery is how often the interfaces are looked at.
const pollEvery = 5 * time.Second

// Watch signals when the network may have changed, until ctx is done, when it
// closes the channel. This system is asked every 5 s for its interfaces and
// addresses; those of interfaces in ignore don't count. Signals that nobody
// took are one.
func Watch(ctx context.Context, ignore ...string) (<-chan struct{}, error) {
	look := func() (string, error) { return interfacesText(ignore) }
	before, err := look()
	if err != nil {
		return nil, err
	}
	changed, out := make(chan struct{}, 1), make(chan struct{}, 1)
	var all sync.WaitGroup
	all.Go(func() { poll(ctx, pollEvery, before, look, changed) })
	all.Go(func() { debounce(ctx, changed, out) })
	go func() {
		all.Wait()
		close(out)
	}()
	return out, nil
}
