package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"time"
)

// Lab is a running network. Its methods may be called at the same time from
// several goroutines. Those that an emulated lab doesn't have return an error
// that wraps errors.ErrUnsupported there.
type Lab struct {
	spec Spec
	net  backend
}

// backend is what a lab is made of: the kernel's boxes or models. Its methods
// are Lab's, with checked arguments.
type backend interface {
	clientAddr() netip.Addr
	serverAddr() netip.Addr
	externalAddrs(box int) []netip.Addr
	elsewhereAddr() netip.Addr
	listenClient(ctx context.Context, network, address string) (net.PacketConn, error)
	listenServer(ctx context.Context, network, address string) (net.PacketConn, error)
	startClient(cmd *exec.Cmd) error
	startServer(cmd *exec.Cmd) error
	flush(box int) error
	setTimers(box int, timers NATSpec) error
	setLoss(outbound, inbound float64) error
	setLink(up bool) error
	move(uplink int) error
	close() error
}

// Start builds a lab. Its error wraps ErrUnavailable where this machine can't
// have one. The lab lives until Close or the end of the process, whatever
// happens to ctx later.
func Start(ctx context.Context, spec Spec) (*Lab, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("lab %q: %w", spec.Name, err)
	}
	spec.NATs, spec.Elsewhere = defaulted(spec.NATs), defaulted(spec.Elsewhere)
	start := startKernel
	if spec.Emulated {
		start = startEmulated
	}
	net, err := start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start lab %q: %w", spec.Name, err)
	}
	return &Lab{spec, net}, nil
}

// Spec returns what the lab was built from, with defaults filled in. Later
// changes by SetTimers and SetLoss don't show in it.
func (l *Lab) Spec() Spec {
	spec := l.spec
	spec.NATs, spec.Elsewhere = slices.Clone(spec.NATs), slices.Clone(spec.Elsewhere)
	return spec
}

// ClientAddr returns the client's own address, where it is now.
func (l *Lab) ClientAddr() netip.Addr { return l.net.clientAddr() }

// ServerAddr returns the server's address, which the client reaches, wherever
// it is.
func (l *Lab) ServerAddr() netip.Addr { return l.net.serverAddr() }

// ExternalAddr returns the outer address of box i, counted from 0 for the
// innermost: where it translates, the source that its packets show outside. It
// is the first of them where the box has several, and the zero Addr where there
// is no such box.
func (l *Lab) ExternalAddr(i int) netip.Addr {
	if all := l.ExternalAddrs(i); len(all) > 0 {
		return all[0]
	}
	return netip.Addr{}
}

// ExternalAddrs returns all outer addresses of box i: one, unless the box has a
// pool of them, and none where there is no such box.
func (l *Lab) ExternalAddrs(i int) []netip.Addr {
	if i < 0 || i >= len(l.spec.NATs) {
		return nil
	}
	return l.net.externalAddrs(i)
}

// ElsewhereAddr returns the outer address of the outermost box elsewhere
// (Spec.Elsewhere). It is the zero Addr where the client has no second uplink.
func (l *Lab) ElsewhereAddr() netip.Addr { return l.net.elsewhereAddr() }

// ClientListen opens a packet socket on the client, as
// net.ListenConfig.ListenPacket does. The address must be numeric. The socket
// is the caller's to close; it outlives the lab, but reaches nobody then.
func (l *Lab) ClientListen(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	return l.net.listenClient(ctx, network, address)
}

// ServerListen opens a packet socket on the server, as ClientListen does on
// the client.
func (l *Lab) ServerListen(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	return l.net.listenServer(ctx, network, address)
}

// StartClient starts a program on the client: it sees the lab's network and no
// other, and may make devices and routes of its own there. Waiting for it is the
// caller's task. Emulated labs have no place for programs.
func (l *Lab) StartClient(cmd *exec.Cmd) error { return l.net.startClient(cmd) }

// StartServer starts a program on the server, as StartClient does on the
// client.
func (l *Lab) StartServer(cmd *exec.Cmd) error { return l.net.startServer(cmd) }

// FlushConntrack makes box i (0: the innermost) forget all its mappings at
// once, and whom it lets in, as a reboot does.
func (l *Lab) FlushConntrack(i int) error {
	if err := l.checkBox(i); err != nil {
		return err
	}
	return l.net.flush(i)
}

// SetTimers changes the timers of box i, in whole seconds; 0 means the
// kernel's default. They take effect on a mapping with its next packet. What
// AddressDependent filtering lets in, and for how long, stays as it is, and so
// do the timers of emulated boxes.
func (l *Lab) SetTimers(i int, solitary, stream time.Duration) error {
	nat := NATSpec{Solitary: solitary, Stream: stream}.withDefaults()
	if err := errors.Join(nat.validateTimers(), l.checkBox(i)); err != nil {
		return err
	}
	return l.net.setTimers(i, nat)
}

// SetLoss changes the share of packets lost outside of all boxes, 0 to 1:
// toward the server, and toward the client. 1 and 1 make an outage that no
// host's own link shows. It holds for both uplinks.
func (l *Lab) SetLoss(outbound, inbound float64) error {
	if err := errors.Join(validateLoss("outbound loss", outbound), validateLoss("inbound loss", inbound)); err != nil {
		return err
	}
	return l.net.setLoss(outbound, inbound)
}

// SetLink switches the client's own link off, or on again: the one where it is
// now. While it is off, sending fails with "network is unreachable"; switched
// on, the client gets its address and route back as from DHCP. The boxes keep
// their mappings.
func (l *Lab) SetLink(up bool) error { return l.net.setLink(up) }

// Move takes the client to another network, as a laptop leaves one Wi-Fi for
// another: 0 is the usual uplink, 1 the one elsewhere (Spec.Elsewhere). The old
// link loses its address and goes off, then the other one comes on with an
// address and the default route. The boxes of both keep their mappings. Moving
// to where the client is leaves everything as it is.
func (l *Lab) Move(i int) error {
	uplinks := 1
	if len(l.spec.Elsewhere) > 0 {
		uplinks = 2
	}
	if i < 0 || i >= uplinks {
		return fmt.Errorf("lab %q has no uplink %d: it has %d", l.spec.Name, i, uplinks)
	}
	return l.net.move(i)
}

// Close takes the whole network down. Sockets that are still open inside reach
// nobody any more. Closing again does nothing.
func (l *Lab) Close() error { return l.net.close() }

func (l *Lab) checkBox(i int) error {
	if i < 0 || i >= len(l.spec.NATs) {
		return fmt.Errorf("lab %q has no NAT %d: it has %d", l.spec.Name, i, len(l.spec.NATs))
	}
	return nil
}
