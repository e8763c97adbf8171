package simulate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

var (
	serverAddr  = netip.MustParseAddr("203.0.113.1")
	siblingAddr = netip.MustParseAddr("203.0.113.2")
	serverEnd   = netip.AddrPortFrom(serverAddr, 3478)
)

const rtt = 2 * (DefaultInside + DefaultOutside)

func linux() natmodel.Config { return natmodel.Linux(30*time.Second, 120*time.Second) }

// testNet is a network whose failures end the test.
type testNet struct {
	t *testing.T
	*Network
}

// newNet makes a network that is closed at the end of the test or bubble.
func newNet(t *testing.T, cfg Config) testNet {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return testNet{t, n}
}

func (n testNet) listen(h *Host, address string) *conn {
	n.t.Helper()
	c, err := h.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	return c.(*conn)
}

func (n testNet) server() *conn { n.t.Helper(); return n.listen(n.Server(serverAddr), ":3478") }

func (n testNet) dial() *conn { n.t.Helper(); return n.listen(n.Client(), ":0") }

// say sends one datagram.
func (n testNet) say(c *conn, to netip.AddrPort, text string) {
	n.t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
		n.t.Fatal(err)
	}
}

// hear waits up to a second for one datagram; an empty text means none.
func (n testNet) hear(c *conn) (string, netip.AddrPort) {
	n.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		n.t.Fatal(err)
	}
	b := make([]byte, 1500)
	k, from, err := c.ReadFromUDPAddrPort(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", from
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b[:k]), from
}

// open sends a datagram to the server and returns the client as the server sees it.
func (n testNet) open(c, s *conn) netip.AddrPort {
	n.t.Helper()
	n.say(c, serverEnd, "open")
	text, from := n.hear(s)
	if text != "open" {
		n.t.Fatalf("server got %q", text)
	}
	return from
}

// echo answers each datagram until the socket is closed.
func echo(c net.PacketConn) {
	b := make([]byte, 1500)
	for {
		k, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if _, err := c.WriteTo(b[:k], from); err != nil {
			return
		}
	}
}
