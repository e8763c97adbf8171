package natlab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// errNoNetwork is what sending fails with where the client's link is off.
var errNoNetwork = error(syscall.ENETUNREACH)

// backlog is how many packets wait in a client's socket to be read; more are
// lost. It is about what Linux keeps of small ones by default.
const backlog = 256

// The range from which systems take a port for who doesn't ask for one (IANA's
// dynamic ports, RFC 6335 section 6).
const firstDynamic, dynamicPorts = 49152, 16384

// clientSocket is a socket of an emulated client.
type clientSocket struct {
	lab   *emulated
	local netip.AddrPort

	mu       sync.Mutex
	closed   bool
	deadline time.Time
	waiting  []arrival
	changed  chan struct{} // closed and replaced with each change of the above
}

type arrival struct {
	from    netip.AddrPort
	payload []byte
}

func (e *emulated) listenClient(_ context.Context, network, address string) (net.PacketConn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	local, err := e.bind(network, address, e.clientAddr(), func(at netip.AddrPort) bool { return e.clients[at] != nil })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	s := &clientSocket{lab: e, local: local, changed: make(chan struct{})}
	e.clients[local] = s
	return s, nil
}

// bind finds the address that a socket on a host is to have. The caller holds
// the lock.
func (e *emulated) bind(network, address string, host netip.Addr, taken func(netip.AddrPort) bool) (netip.AddrPort, error) {
	if e.closed {
		return netip.AddrPort{}, net.ErrClosed
	}
	family := map[bool]string{true: "udp4", false: "udp6"}[host.Is4()]
	if network != "udp" && network != family {
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	ip, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if ip != "" {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return netip.AddrPort{}, err
		}
		if addr = addr.Unmap(); !addr.IsUnspecified() && addr != host {
			return netip.AddrPort{}, syscall.EADDRNOTAVAIL
		}
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if port != 0 {
		local := netip.AddrPortFrom(host, uint16(port))
		if taken(local) {
			return netip.AddrPort{}, syscall.EADDRINUSE
		}
		return local, nil
	}
	first := e.chance.IntN(dynamicPorts)
	for i := range dynamicPorts {
		local := netip.AddrPortFrom(host, uint16(firstDynamic+(first+i)%dynamicPorts))
		if !taken(local) {
			return local, nil
		}
	}
	return netip.AddrPort{}, syscall.EADDRINUSE
}

// arrive hands a packet to the socket.
func (s *clientSocket) arrive(from netip.AddrPort, payload []byte) {
	s.change(func() {
		if !s.closed && len(s.waiting) < backlog {
			s.waiting = append(s.waiting, arrival{from, append([]byte(nil), payload...)})
		}
	})
}

// change changes what a reader may be waiting for.
func (s *clientSocket) change(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
	close(s.changed)
	s.changed = make(chan struct{})
}

// ReadFrom reads a packet. What doesn't fit into b is cut off.
func (s *clientSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		s.mu.Lock()
		now := time.Now()
		var err error
		switch {
		case s.closed:
			err = net.ErrClosed
		case !s.deadline.IsZero() && !now.Before(s.deadline):
			err = os.ErrDeadlineExceeded
		case len(s.waiting) > 0:
			first := s.waiting[0]
			s.waiting = s.waiting[1:]
			s.mu.Unlock()
			return copy(b, first.payload), net.UDPAddrFromAddrPort(first.from), nil
		}
		changed, deadline := s.changed, s.deadline
		s.mu.Unlock()
		if err != nil {
			return 0, nil, s.failed("read", err)
		}
		await(changed, deadline)
	}
}

// await waits for a change or a deadline, if there is one.
func await(changed <-chan struct{}, deadline time.Time) {
	if deadline.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// WriteTo sends a packet.
func (s *clientSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, s.failed("write", errors.New("the address isn't a UDP address"))
	}
	if len(b) > maxPayload {
		return 0, s.failed("write", syscall.EMSGSIZE)
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return 0, s.failed("write", net.ErrClosed)
	}
	if err := s.lab.sendOut(s.local, unmapped(udp.AddrPort()), b); err != nil {
		return 0, s.failed("write", err)
	}
	return len(b), nil
}

// Close closes the socket. Its port is free then.
func (s *clientSocket) Close() error {
	closed := false
	s.change(func() { closed, s.closed = s.closed, true })
	if closed {
		return s.failed("close", net.ErrClosed)
	}
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	delete(s.lab.clients, s.local)
	return nil
}

// LocalAddr returns the client's address and the socket's port.
func (s *clientSocket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.local) }

// SetDeadline sets the deadline for reading: writing never waits.
func (s *clientSocket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetReadDeadline sets the time at which reading gives up.
func (s *clientSocket) SetReadDeadline(t time.Time) error {
	s.change(func() { s.deadline = t })
	return nil
}

// SetWriteDeadline does nothing: writing never waits.
func (s *clientSocket) SetWriteDeadline(time.Time) error { return nil }

func (s *clientSocket) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: s.LocalAddr(), Err: err}
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
