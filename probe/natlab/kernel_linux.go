package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// kernelLab is a network of namespaces.
type kernelLab struct {
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

func startKernel(ctx context.Context, spec Spec) (backend, error) {
	l := &kernelLab{spec: spec, lossy: make(map[*namespace]bool)}
	if err := l.build(ctx); err != nil {
		// Most of it may not be there yet: only the first error tells.
		_ = l.close()
		return nil, err
	}
	return l, nil
}

func (l *kernelLab) build(ctx context.Context) error {
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
	return l.lose(l.spec.Loss, l.spec.Loss)
}

// node makes a node of an uplink. The uplinks share client and server.
func (l *kernelLab) node(ctx context.Context, way, i int, u *uplink) (*namespace, error) {
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

func (l *kernelLab) clientAddr() netip.Addr {
	l.linkMu.Lock()
	defer l.linkMu.Unlock()
	return l.uplinks[l.at].segments[0].inner
}

func (l *kernelLab) serverAddr() netip.Addr { return l.uplinks[usual].server }

func (l *kernelLab) externalAddrs(box int) []netip.Addr {
	return l.uplinks[usual].segments[box+1].pool(l.spec.NATs[box].Addresses)
}

func (l *kernelLab) elsewhereAddr() netip.Addr {
	if len(l.uplinks) <= elsewhere {
		return netip.Addr{}
	}
	return l.uplinks[elsewhere].last().inner
}

func (l *kernelLab) listenClient(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = l.with(0, func(ns *namespace) error {
		conn, err = ns.listen(ctx, network, address)
		return err
	})
	return conn, err
}

func (l *kernelLab) listenServer(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	err = l.withServer(func(ns *namespace) error {
		conn, err = ns.listen(ctx, network, address)
		return err
	})
	return conn, err
}

func (l *kernelLab) startClient(cmd *exec.Cmd) error {
	return l.with(0, func(ns *namespace) error { return ns.start(cmd) })
}

func (l *kernelLab) startServer(cmd *exec.Cmd) error {
	return l.withServer(func(ns *namespace) error { return ns.start(cmd) })
}

func (l *kernelLab) close() error {
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
func (l *kernelLab) with(node int, fn func(*namespace) error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return fmt.Errorf("lab %q: %w", l.spec.Name, net.ErrClosed)
	}
	return fn(l.uplinks[usual].nodes[node])
}

func (l *kernelLab) withServer(fn func(*namespace) error) error {
	return l.with(len(l.spec.NATs)+1, fn)
}
