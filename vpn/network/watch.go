package network

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	// quiet is how long nothing must happen before a change is signalled: a
	// move to another network is a dozen events.
	quiet = 300 * time.Millisecond
	// longest is how long a signal waits for quiet.
	longest = time.Second
)

// debounce signals on out once events on in have paused for quiet, or for
// longest after the first. It returns when ctx is done or in is closed.
func debounce(ctx context.Context, in <-chan struct{}, out chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-in:
			if !open {
				return
			}
		}
		if !settle(ctx, in) {
			return
		}
		poke(out)
	}
}

// settle waits for the end of a burst of events whose first came just now. It
// returns false where there is nobody left to tell.
func settle(ctx context.Context, in <-chan struct{}) bool {
	end := time.NewTimer(longest)
	defer end.Stop()
	pause := time.NewTimer(quiet)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case _, open := <-in:
			if !open {
				return false
			}
			pause.Reset(quiet)
		case <-pause.C:
			return true
		case <-end.C:
			return true
		}
	}
}

// poke sends a signal unless one waits already. The channel must have room for
// one.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// poll pokes changed each time that look has another answer than before, until
// ctx is done. An answer that can't be had counts as the one before.
func poll(ctx context.Context, every time.Duration, before string, look func() (string, error), changed chan<- struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := look()
		if err == nil && now != before {
			before = now
			poke(changed)
		}
	}
}

// interfacesText describes all interfaces that are up, and their addresses,
// without those in ignore, so that two descriptions differ when a network
// changed as far as interfaces and addresses tell.
func interfacesText(ignore []string) (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("read the interfaces of this machine: %w", err)
	}
	var lines []string
	for _, i := range interfaces {
		if slices.Contains(ignore, i.Name) || i.Flags&net.FlagUp == 0 {
			continue
		}
		line := fmt.Sprintf("%d %s %s %s", i.Index, i.Name, i.Flags, i.HardwareAddr)
		addresses, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		var texts []string
		for _, a := range addresses {
			texts = append(texts, a.String())
		}
		slices.Sort(texts)
		lines = append(lines, line+" "+strings.Join(texts, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}
