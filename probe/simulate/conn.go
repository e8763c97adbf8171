package simulate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

const (
	// maxPayload is the largest UDP payload in an IPv4 packet: 65,535 bytes less
	// 20 of IP's header and 8 of UDP's.
	maxPayload = 65507
	maxTTL     = 255
)

// datagram is what waits in a socket.
type datagram struct {
	from    netip.AddrPort
	payload []byte
}

// conn is a socket. Blocked readers wait on channels only, so that a synctest
// bubble sees them as durably blocked.
type conn struct {
	host  *Host
	local netip.AddrPort // with the host's address

	mu      sync.Mutex
	closed  bool
	ttl     int
	queue   []datagram
	readBy  time.Time
	writeBy time.Time
	ready   chan struct{} // holds a token while the queue may have something
	changed chan struct{} // closed when the read deadline changes or the socket closes
}

var _ net.PacketConn = (*conn)(nil)

// put queues a datagram, unless limit wait already.
func (c *conn) put(d datagram, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.queue) >= limit {
		return false
	}
	c.queue = append(c.queue, d)
	c.wake()
	return true
}

// wake lets one reader look at the queue. The caller holds c.mu.
func (c *conn) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// take waits for a datagram.
func (c *conn) take() (datagram, error) {
	for {
		d, wait, err := c.poll()
		if wait == nil {
			return d, err
		}
		wait()
	}
}

// poll returns a datagram, an error, or a function that waits until it is worth
// to poll again.
func (c *conn) poll() (d datagram, wait func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return d, nil, net.ErrClosed
	case passed(c.readBy):
		return d, nil, os.ErrDeadlineExceeded
	case len(c.queue) > 0:
		d = c.queue[0]
		c.queue[0] = datagram{}
		if c.queue = c.queue[1:]; len(c.queue) > 0 {
			c.wake() // another reader may wait too
		}
		return d, nil, nil
	}
	changed, by := c.changed, c.readBy
	return d, func() {
		var timeout <-chan time.Time
		if !by.IsZero() {
			t := time.NewTimer(time.Until(by))
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-c.ready:
		case <-changed:
		case <-timeout:
		}
	}, nil
}

// passed says whether a deadline is over.
func passed(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// ReadFromUDPAddrPort waits for a datagram and copies as much of it as fits.
func (c *conn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	d, err := c.take()
	if err != nil {
		return 0, netip.AddrPort{}, c.fail("read", nil, err)
	}
	return copy(b, d.payload), d.from, nil
}

// ReadFrom is ReadFromUDPAddrPort with a *net.UDPAddr.
func (c *conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteToUDPAddrPort sends a datagram. It never waits.
func (c *conn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if err := c.write(b, to); err != nil {
		return 0, c.fail("write", net.UDPAddrFromAddrPort(to), err)
	}
	return len(b), nil
}

// WriteTo is WriteToUDPAddrPort for a *net.UDPAddr.
func (c *conn) WriteTo(b []byte, to net.Addr) (int, error) {
	addr, ok := to.(*net.UDPAddr)
	if !ok || addr == nil {
		return 0, c.fail("write", to, fmt.Errorf("address of type %T, want *net.UDPAddr", to))
	}
	return c.WriteToUDPAddrPort(b, addr.AddrPort())
}

func (c *conn) write(b []byte, to netip.AddrPort) error {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	c.mu.Lock()
	closed, ttl, writeBy := c.closed, c.ttl, c.writeBy
	c.mu.Unlock()
	switch {
	case closed:
		return net.ErrClosed
	case passed(writeBy):
		return os.ErrDeadlineExceeded
	case !to.Addr().IsValid() || to.Port() == 0:
		return os.NewSyscallError("sendto", syscall.EINVAL)
	case to.Addr().Is4() != c.local.Addr().Is4():
		return os.NewSyscallError("sendto", syscall.EAFNOSUPPORT)
	case len(b) > maxPayload:
		return os.NewSyscallError("sendto", syscall.EMSGSIZE)
	}
	p := natmodel.Packet{Src: c.local, Dst: to, TTL: ttl, Payload: append([]byte(nil), b...)}
	n.send(p, c.host == n.client)
	return nil
}

// fail wraps an error as the net package does.
func (c *conn) fail(op string, to net.Addr, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: to, Err: err}
}

// Close lets readers go with net.ErrClosed and frees the port.
func (c *conn) Close() error {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if !c.shut() {
		return c.fail("close", nil, net.ErrClosed)
	}
	delete(c.host.conns, c.local.Port())
	return nil
}

// shut closes the socket itself. It says whether that was still to do.
func (c *conn) shut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.closed = true
	c.queue = nil
	close(c.changed)
	return true
}

// LocalAddr returns the host's address with the socket's port, also for sockets
// that were bound to no address.
func (c *conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// SetTTL sets the TTL of packets sent from now on, 1 to 255.
func (c *conn) SetTTL(ttl int) error {
	if ttl < 1 || ttl > maxTTL {
		return c.fail("set", nil, fmt.Errorf("TTL is %d, want 1 to %d", ttl, maxTTL))
	}
	return c.set(func() { c.ttl = ttl })
}

// SetDeadline sets both deadlines; the zero time means none.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline makes reads, those that wait already included, fail from t on.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.set(func() {
		c.readBy = t
		close(c.changed)
		c.changed = make(chan struct{})
	})
}

// SetWriteDeadline makes writes fail from t on.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.set(func() { c.writeBy = t })
}

// set changes a setting of an open socket.
func (c *conn) set(change func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("set", nil, net.ErrClosed)
	}
	change()
	return nil
}
