package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Lab is a running network. Its methods may be called at the same time from
// several goroutines.
type Lab struct {
	spec    Spec
	uplinks []*uplink // the usual one, and where there is one that elsewhere

	mu     sync.RWMutex // held for writing only while closing
	closed bool
	nodes  []*namespace // all of them, the client first

	linkMu sync.Mutex
	at     int // the uplink that the client is at

	lossMu sync.Mutex
	lossy  map[*namespace]bool // has rules for loss, whatever its rate
}

// Start builds a lab. Its error wraps ErrUnavailable where this machine can't
// have one. The lab lives until Close or the end of the process, whatever
// happens to ctx later.
func Start(ctx context.Context, spec Spec) (*Lab, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("lab %q: %w", spec.Name, err)
	}
	spec.NATs, spec.Elsewhere = defaulted(spec.NATs), defaulted(spec.Elsewhere)
	l := &Lab{spec: spec, lossy: make(map[*namespace]bool)}
	if err := l.build(ctx); err != nil {
		// Most of it may not be there yet: only the first error tells.
		_ = l.Close()
		return nil, fmt.Errorf("start lab %q: %w", spec.Name, err)
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	chains := [][]NATSpec{l.spec.NATs}
	if len(l.spec.Elsewhere) > 0 {
		chains = append(chains, l.spec.Elsewhere)
	}
	for way, chain := range chains {
		u := newUplink(l.spec.Family, way, chain)
		if way != usual {
			u.server = l.uplinks[usual].server
		}
		for node := range len(u.segments) + 1 {
			ns, err := l.node(ctx, way, node, u)
			if err != nil {
				return err
			}
			u.nodes = append(u.nodes, ns)
		}
		l.uplinks = append(l.uplinks, u)
	}
	for _, u := range l.uplinks {
		if err := u.build(ctx); err != nil {
			return err
		}
	}
	if err := l.uplinks[usual].attach(ctx); err != nil {
		return err
	}
	for _, u := range l.uplinks[usual+1:] {
		if err := u.leave(); err != nil {
			return err
		}
	}
	return l.setLoss(l.spec.Loss, l.spec.Loss)
}

// node makes a node of an uplink. The uplinks share client and server.
func (l *Lab) node(ctx context.Context, way, i int, u *uplink) (*namespace, error) {
	if way != usual && !u.isBox(i) {
		shared := l.uplinks[usual].nodes
		if i > 0 {
			i = len(shared) - 1
		}
		return shared[i], nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ns, err := newNamespace()
	if errors.Is(err, unix.EPERM) {
		return nil, unavailable("%w; %s", err, permissionAdvice())
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return nil, unavailable("this kernel makes no more network namespaces (%w); see /proc/sys/user/max_net_namespaces", err)
	}
	if err != nil {
		return nil, err
	}
	l.nodes = append(l.nodes, ns)
	return ns, nil
}

// Spec returns what the lab was built from, with defaults filled in. Later
// changes by SetTimers and SetLoss don't show in it.
func (l *Lab) Spec() Spec {
	spec := l.spec
	spec.NATs, spec.Elsewhere = slices.Clone(spec.NATs), slices.Clone(spec.Elsewhere)
	return spec
}

// ClientAddr returns the client's own address, where it is now.
func (l *Lab) ClientAddr() netip.Addr {
	l.linkMu.Lock()
	defer l.linkMu.Unlock()
	return l.uplinks[l.at].segments[0].inner
}

// ServerAddr returns the server's address, which the client reaches, wherever
// it is.
func (l *Lab) ServerAddr() netip.Addr { return l.uplinks[usual].server }

// ExternalAddr returns the outer address of box i, counted from 0 for the
// innermost: where it translates, the source that its packets show outside. It
// is the zero Addr where there is no such box.
func (l *Lab) ExternalAddr(i int) netip.Addr { return l.uplinks[usual].externalAddr(i) }

// ElsewhereAddr returns the outer address of the outermost box elsewhere
// (Spec.Elsewhere). It is the zero Addr where the client has no second uplink.
func (l *Lab) ElsewhereAddr() netip.Addr {
	if len(l.uplinks) <= elsewhere {
		return netip.Addr{}
	}
	return l.uplinks[elsewhere].externalAddr(len(l.spec.Elsewhere) - 1)
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
	err = l.withServer(func(ns *namespace) error {
		conn, err = ns.listen(ctx, network, address)
		return err
	})
	return conn, err
}

// StartClient starts a program on the client: it sees the lab's network and no
// other, and may make devices and routes of its own there. Waiting for it is the
// caller's task.
func (l *Lab) StartClient(cmd *exec.Cmd) error {
	return l.with(0, func(ns *namespace) error { return ns.start(cmd) })
}

// StartServer starts a program on the server, as StartClient does on the
// client.
func (l *Lab) StartServer(cmd *exec.Cmd) error {
	return l.withServer(func(ns *namespace) error { return ns.start(cmd) })
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
	for _, u := range l.uplinks {
		u.cut()
	}
	for _, ns := range l.nodes {
		errs = append(errs, ns.close())
	}
	l.nodes = nil
	return errors.Join(errs...)
}

// with runs fn on a node of the usual path while the lab can't be closed: 0 is
// the client, then come the boxes, then the server.
func (l *Lab) with(node int, fn func(*namespace) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return fmt.Errorf("lab %q: %w", l.spec.Name, net.ErrClosed)
	}
	return fn(l.uplinks[usual].nodes[node])
}

func (l *Lab) withServer(fn func(*namespace) error) error {
	return l.with(len(l.spec.NATs)+1, fn)
}
