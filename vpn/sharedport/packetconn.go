package sharedport

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// queueSize is how many datagrams wait for a reader: what arrives in some 10 ms
// at the rate of a busy reflector.
const queueSize = 256

// PacketConn is the STUN side of a shared port, a net.PacketConn. Reading and
// writing may go on at the same time, from several goroutines.
type PacketConn struct {
	bind    *Bind
	queue   chan datagram
	dropped atomic.Uint64
	late    deadline

	closing sync.Once
	closed  chan struct{}
}

type datagram struct {
	payload []byte
	from    Addr
}

// Addr is a sender's address together with what WireGuard's bind knows of the
// path back: the local address that was contacted, where it knows that.
type Addr struct {
	addr     netip.AddrPort
	endpoint conn.Endpoint
}

// Network returns "udp".
func (Addr) Network() string { return "udp" }

// String returns the address and port.
func (a Addr) String() string { return a.addr.String() }

// AddrPort returns the address and port.
func (a Addr) AddrPort() netip.AddrPort { return a.addr }

func newPacketConn(b *Bind) *PacketConn {
	return &PacketConn{bind: b, queue: make(chan datagram, queueSize), closed: make(chan struct{})}
}

// deliver queues a copy of a packet, or drops it: WireGuard must not wait.
func (c *PacketConn) deliver(packet []byte, from conn.Endpoint) {
	if len(c.queue) == cap(c.queue) { // in a flood, before any other work
		c.dropped.Add(1)
		return
	}
	addr, err := netip.ParseAddrPort(from.DstToString())
	if err != nil {
		c.dropped.Add(1)
		return
	}
	select {
	case <-c.closed:
	case c.queue <- datagram{bytes.Clone(packet), Addr{addr, from}}:
	default:
		c.dropped.Add(1)
	}
}

// Dropped returns how many datagrams came while the queue was full.
func (c *PacketConn) Dropped() uint64 { return c.dropped.Load() }

// ReadFrom reads the next datagram. Its address is an Addr. A datagram that is
// larger than p is cut off.
func (c *PacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case <-c.closed:
		return 0, nil, c.failed("read", net.ErrClosed)
	case <-c.late.passed():
		return 0, nil, c.failed("read", os.ErrDeadlineExceeded)
	default:
	}
	select {
	case d := <-c.queue:
		return copy(p, d.payload), d.from, nil
	case <-c.closed:
		return 0, nil, c.failed("read", net.ErrClosed)
	case <-c.late.passed():
		return 0, nil, c.failed("read", os.ErrDeadlineExceeded)
	}
}

// WriteTo sends a datagram from the shared port: to an Addr from where it was
// contacted, to any other address as routes have it.
func (c *PacketConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	select {
	case <-c.closed:
		return 0, c.failed("write", net.ErrClosed)
	default:
	}
	known, ok := addr.(Addr)
	if !ok {
		endpoint, err := c.bind.ParseEndpoint(addr.String())
		if err != nil {
			return 0, c.failed("write", fmt.Errorf("the address %v: %w", addr, err))
		}
		known.endpoint = endpoint
	}
	if err := c.bind.Send([][]byte{p}, known.endpoint); err != nil {
		return 0, c.failed("write", err)
	}
	return len(p), nil
}

func (c *PacketConn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}

// Close ends reading and writing here. The port stays WireGuard's.
func (c *PacketConn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return nil
}

// LocalAddr returns the port, with an unspecified address.
func (c *PacketConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv6unspecified, Port: int(c.bind.port.Load())}
}

// SetDeadline is SetReadDeadline: writing never waits.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads fail from t on with os.ErrDeadlineExceeded, those
// that wait included. The zero time lifts the deadline.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.late.set(t)
	return nil
}

// SetWriteDeadline does nothing: writing never waits.
func (c *PacketConn) SetWriteDeadline(time.Time) error { return nil }
