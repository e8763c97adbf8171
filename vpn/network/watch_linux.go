package network

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// pollEvery is how often the network is looked at where the kernel's events are
// not to be had.
const pollEvery = 2 * time.Second

// Watch signals when the network may have changed: interfaces, addresses,
// routes, the hardware address of a gateway. What happens to interfaces named in
// ignore doesn't count, also when they appear later. Events are gathered until
// 300 ms pass without one, but no longer than 1 s; signals that nobody took are
// one. A signal is a hint: Current tells whether anything changed that matters.
//
// It watches the network namespace of the thread that calls it. The channel is
// closed soon after ctx is done. Where the kernel refuses events, the network is
// looked at every 2 s; an error means that it refuses that as well.
func Watch(ctx context.Context, ignore ...string) (<-chan struct{}, error) {
	w, err := newWatcher(ignore)
	if err != nil {
		return nil, err
	}
	changed, out := make(chan struct{}, 1), make(chan struct{}, 1)
	var all sync.WaitGroup
	all.Go(func() { w.run(ctx, changed) })
	all.Go(func() { debounce(ctx, changed, out) })
	go func() {
		all.Wait()
		close(out)
	}()
	return out, nil
}

// watcher gets to know of changes in one network namespace. Its sockets stay in
// the one in which they were made, whatever thread uses them later.
type watcher struct {
	ignore    []string
	questions *nl.NetlinkSocket // nil where the kernel refuses them
	events    *nl.NetlinkSocket // nil where the kernel refuses them
	filter    *filter           // of events
	before    string            // the last look
}

func newWatcher(ignore []string) (*watcher, error) {
	w := &watcher{ignore: ignore, filter: newFilter(ignore)}
	refused := w.subscribe()
	if refused == nil {
		return w, nil
	}
	before, err := w.look()
	if err != nil {
		w.close()
		return nil, fmt.Errorf("watch the network: %w", errors.Join(refused, err))
	}
	w.before = before
	return w, nil
}

// subscribe asks for events, and learns what there is before the first of them.
func (w *watcher) subscribe() error {
	questions, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	w.questions = questions
	if err := questions.SetReceiveTimeout(&nl.SocketTimeoutTv); err != nil {
		return fmt.Errorf("bound the wait for netlink's answers: %w", err)
	}
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("subscribe to the kernel's events: %w", err)
	}
	if err := w.filter.seed(questions); err != nil {
		events.Close()
		return err
	}
	w.events = events
	return nil
}

// look describes the network now, for comparing.
func (w *watcher) look() (string, error) {
	if w.questions != nil {
		now := newFilter(w.ignore)
		if err := now.seed(w.questions); err == nil {
			return now.text(), nil
		}
	}
	return interfacesText(w.ignore)
}

func (w *watcher) close() {
	for _, socket := range []*nl.NetlinkSocket{w.events, w.questions} {
		if socket != nil {
			socket.Close()
		}
	}
}

// run pokes changed until ctx is done.
func (w *watcher) run(ctx context.Context, changed chan<- struct{}) {
	defer w.close()
	if w.events != nil {
		stop := context.AfterFunc(ctx, w.events.Close)
		defer stop()
		w.listen(changed)
		if ctx.Err() != nil {
			return
		}
		// The kernel ended it, and what it would have told next is lost.
		poke(changed)
		if before, err := w.look(); err == nil {
			w.before = before
		}
	}
	poll(ctx, pollEvery, w.before, w.look, changed)
}

// listen reads events until that fails.
func (w *watcher) listen(changed chan<- struct{}) {
	for {
		messages, from, err := w.events.Receive()
		switch {
		case isAny(err, unix.ENOBUFS):
			// Some were lost. What can't be asked for now, events tell later.
			w.filter.forget()
			_ = w.filter.seed(w.questions)
			poke(changed)
			continue
		case isAny(err, unix.EINTR, unix.EAGAIN):
			continue
		case err != nil:
			return
		case from.Pid != nl.PidKernel:
			continue
		}
		for _, m := range messages {
			if w.filter.matters(m.Header.Type, m.Data) {
				poke(changed)
			}
		}
	}
}
