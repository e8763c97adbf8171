package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lab is a running network. Its methods may be called at the same time from
// several goroutines.
type Lab struct {
	spec     Spec
	segments []segment

	mu     sync.RWMutex // held for writing only while closing
	closed bool
	nodes  []*namespace // client, boxes from the innermost, server

	lossMu            sync.Mutex
	lossyOut, lossyIn bool // rules for loss are there, whatever their rate
}

// Start builds a lab. Its error wraps ErrUnavailable where this machine can't
// have one. The lab lives until Close or the end of the process, whatever
// happens to ctx later.
func Start(ctx context.Context, spec Spec) (*Lab, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("lab %q: %w", spec.Name, err)
	}
	spec.NATs = slices.Clone(spec.NATs)
	for i := range spec.NATs {
		spec.NATs[i] = spec.NATs[i].withDefaults()
	}
	l := &Lab{spec: spec, segments: plan(spec)}
	if err := l.build(ctx); err != nil {
		// Most of it may not be there yet: only the first error tells.
		_ = l.Close()
		return nil, fmt.Errorf("start lab %q: %w", spec.Name, err)
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	for range len(l.segments) + 1 {
		if err := ctx.Err(); err != nil {
			return err
		}
		ns, err := newNamespace()
		if errors.Is(err, unix.EPERM) {
			return unavailable("%w; %s", err, permissionAdvice())
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			return unavailable("this kernel makes no more network namespaces (%w); see /proc/sys/user/max_net_namespaces", err)
		}
		if err != nil {
			return err
		}
		l.nodes = append(l.nodes, ns)
	}
	steps := []func(context.Context, int) error{l.prepareNode, l.joinNode, l.raiseNode, l.routeNode, l.guardNode}
	for _, step := range steps {
		for i := range l.nodes {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := l.nodes[i].do(func() error { return step(ctx, i) }); err != nil {
				return err
			}
		}
	}
	return l.setLoss(l.spec.Loss, l.spec.Loss)
}

func (l *Lab) prepareNode(_ context.Context, i int) error {
	return prepare(l.spec.Family, l.isBox(i))
}

// joinNode links node i to the next one outward.
func (l *Lab) joinNode(_ context.Context, i int) error {
	if i == l.server() {
		return nil
	}
	return join(l.outerLink(i), l.nodes[i+1], l.innerLink(i+1))
}

func (l *Lab) raiseNode(_ context.Context, i int) error {
	if i > 0 {
		if err := raise(l.innerLink(i), l.segments[i-1], false); err != nil {
			return err
		}
	}
	if i < l.server() {
		return raise(l.outerLink(i), l.segments[i], true)
	}
	return nil
}

// routeNode runs when every link has both ends on.
func (l *Lab) routeNode(ctx context.Context, i int) error {
	if i > 0 {
		if err := awaitReady(ctx, l.innerLink(i), l.segments[i-1].outer); err != nil {
			return err
		}
		for _, inner := range visibleFrom(l.spec, i-1) {
			if err := route(l.segments[inner].prefix, l.segments[i-1].inner); err != nil {
				return err
			}
		}
	}
	if i < l.server() {
		if err := awaitReady(ctx, l.outerLink(i), l.segments[i].inner); err != nil {
			return err
		}
		return route(netip.Prefix{}, l.segments[i].outer)
	}
	return nil
}

// guardNode makes a box what its spec says. The rules come first: they bring
// conntrack, and so its timers, into the namespace.
func (l *Lab) guardNode(_ context.Context, i int) error {
	if !l.isBox(i) {
		return nil
	}
	nat := l.spec.NATs[i-1]
	if err := boxRules(l.spec.Family, nat); err != nil {
		return err
	}
	return writeTimers(nat)
}

func writeTimers(nat NATSpec) error {
	for _, timer := range []struct {
		name string
		d    time.Duration
	}{
		{"netfilter/nf_conntrack_udp_timeout", nat.Solitary},
		{"netfilter/nf_conntrack_udp_timeout_stream", nat.Stream},
	} {
		if err := writeSysctl(timer.name, strconv.Itoa(int(timer.d/time.Second))); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) server() int      { return len(l.segments) }
func (l *Lab) isBox(i int) bool { return i > 0 && i < l.server() }

func (l *Lab) innerLink(i int) string {
	if l.isBox(i) {
		return lanLink
	}
	return hostLink
}

func (l *Lab) outerLink(i int) string {
	if l.isBox(i) {
		return wanLink
	}
	return hostLink
}

// Spec returns what the lab was built from, with defaults filled in. Later
// changes by SetTimers and SetLoss don't show in it.
func (l *Lab) Spec() Spec {
	spec := l.spec
	spec.NATs = slices.Clone(spec.NATs)
	return spec
}

// ClientAddr returns the client's own address.
func (l *Lab) ClientAddr() netip.Addr { return l.segments[0].inner }

// ServerAddr returns the server's address, which the client reaches.
func (l *Lab) ServerAddr() netip.Addr { return l.segments[len(l.segments)-1].outer }

// ExternalAddr returns the outer address of box i, counted from 0 for the
// innermost: where it translates, the source that its packets show outside.
// It is the zero Addr where there is no such box.
func (l *Lab) ExternalAddr(i int) netip.Addr {
	if i < 0 || i >= len(l.spec.NATs) {
		return netip.Addr{}
	}
	return l.segments[i+1].inner
}

// ClientListen opens a packet socket on the client, as
// net.ListenConfig.ListenPacket does. The address must be numeric. The socket
// is the caller's to close; it outlives the lab, but reaches nobody then.
func (l *Lab) ClientListen(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = l.with(0, func(ns *namespace) error {
		conn, err = ns.listen(ctx, network, address)
		return err
	})
	return conn, err
}

// ServerListen opens a packet socket on the server, as ClientListen does on
// the client.
func (l *Lab) ServerListen(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = l.with(l.server(), func(ns *namespace) error {
		conn, err = ns.listen(ctx, network, address)
		return err
	})
	return conn, err
}

// StartClient starts a program on the client: it sees the lab's network and no
// other. Waiting for it is the caller's task.
func (l *Lab) StartClient(cmd *exec.Cmd) error {
	return l.with(0, func(ns *namespace) error { return ns.start(cmd) })
}

// Close takes the whole network down. Sockets that are still open inside reach
// nobody any more. Closing again does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for i, ns := range l.nodes {
		// A namespace with an open socket would live on, so its links go
		// explicitly. A link that isn't there yet is no error.
		if i < l.server() {
			_ = ns.do(func() error { return remove(l.outerLink(i)) })
		}
	}
	for _, ns := range l.nodes {
		errs = append(errs, ns.close())
	}
	l.nodes = nil
	return errors.Join(errs...)
}

// with runs fn on a node while the lab can't be closed.
func (l *Lab) with(node int, fn func(*namespace) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return fmt.Errorf("lab %q: %w", l.spec.Name, net.ErrClosed)
	}
	return fn(l.nodes[node])
}
