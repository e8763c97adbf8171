package reflector

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// memConn is a socket in memory that works in a synctest bubble. What is put
// into it is read from it, what is written to it is captured.
type memConn struct {
	local netip.AddrPort
	sent  func(memPacket)

	mu       sync.Mutex
	queue    []memPacket
	deadline time.Time
	closed   bool
	fail     error         // what writes fail with
	changed  chan struct{} // closed at each change
}

// memPacket is a datagram on the way from or to a peer.
type memPacket struct {
	at      time.Time
	peer    netip.AddrPort
	payload []byte
}

func newMemConn(local string, sent func(memPacket)) *memConn {
	return &memConn{local: netip.MustParseAddrPort(local), sent: sent, changed: make(chan struct{})}
}

func (c *memConn) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// put delivers a datagram from any source that a test wants to claim.
func (c *memConn) put(from netip.AddrPort, payload []byte) {
	c.set(func() { c.queue = append(c.queue, memPacket{peer: from, payload: payload}) })
}

func (c *memConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		changed, deadline := c.changed, c.deadline
		switch {
		case c.closed:
			c.mu.Unlock()
			return 0, nil, net.ErrClosed
		case !deadline.IsZero() && !time.Now().Before(deadline):
			c.mu.Unlock()
			return 0, nil, os.ErrDeadlineExceeded
		case len(c.queue) > 0:
			p := c.queue[0]
			c.queue = c.queue[1:]
			c.mu.Unlock()
			return copy(b, p.payload), net.UDPAddrFromAddrPort(p.peer), nil
		}
		c.mu.Unlock()
		<-changed // deadlines in the future are not used here
	}
}

func (c *memConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case c.fail != nil:
		return 0, c.fail
	}
	c.sent(memPacket{at: time.Now(), peer: addrPort(addr), payload: append([]byte(nil), b...)})
	return len(b), nil
}

func (c *memConn) LocalAddr() net.Addr               { return net.UDPAddrFromAddrPort(c.local) }
func (c *memConn) SetDeadline(t time.Time) error     { return c.SetReadDeadline(t) }
func (c *memConn) SetWriteDeadline(time.Time) error  { return nil }
func (c *memConn) SetReadDeadline(t time.Time) error { c.set(func() { c.deadline = t }); return nil }
func (c *memConn) Close() error                      { c.set(func() { c.closed = true }); return nil }
func (c *memConn) refuse(err error)                  { c.set(func() { c.fail = err }) }
func (c *memConn) readDeadline() (deadline time.Time) {
	c.set(func() { deadline = c.deadline })
	return
}

// parse decodes what a reflector sent.
func parse(t *testing.T, payload []byte) wire.Reply {
	t.Helper()
	r, err := wire.ParseReply(payload)
	if err != nil {
		t.Fatalf("the reflector sent what can't be parsed: %v", err)
	}
	return r
}
