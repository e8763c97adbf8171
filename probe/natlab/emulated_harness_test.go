package natlab

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

const (
	// emuPatience bounds the wait for what must come.
	emuPatience = 10 * time.Second
	// emuSilence is how long nothing must come, after something that was
	// sent later has come already.
	emuSilence = 20 * time.Millisecond
)

// model is an emulated lab whose time stands still unless a test moves it.
type model struct {
	*Lab
	t      *testing.T
	server net.PacketConn

	mu  sync.Mutex
	now time.Duration
}

func startModel(t *testing.T, spec Spec) *model {
	t.Helper()
	spec.Emulated = true
	l, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{Lab: l, t: t}
	e := l.net.(*emulated)
	e.mu.Lock()
	e.clock = func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.now
	}
	e.mu.Unlock()
	m.server = m.listenServer(3478)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

func (m *model) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += d
}

func (m *model) listenServer(port uint16) net.PacketConn {
	m.t.Helper()
	conn, err := m.ServerListen(m.t.Context(), "udp", netip.AddrPortFrom(m.ServerAddr(), port).String())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (m *model) client() net.PacketConn {
	m.t.Helper()
	conn, err := m.ClientListen(m.t.Context(), "udp", ":0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send sends a packet, and returns where it came from and whether it came.
func (m *model) send(from net.PacketConn, address net.Addr, to net.PacketConn) (net.Addr, bool) {
	m.t.Helper()
	if _, err := from.WriteTo([]byte("payload"), address); err != nil {
		m.t.Fatal(err)
	}
	return m.read(to, emuPatience)
}

func (m *model) read(conn net.PacketConn, patience time.Duration) (net.Addr, bool) {
	m.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	var b [32]byte
	n, source, err := conn.ReadFrom(b[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, false
	}
	if err != nil || string(b[:n]) != "payload" {
		m.t.Fatalf("read %q, %v", b[:n], err)
	}
	return source, true
}

// out sends from a client to a server, which gets it, and returns its external
// address.
func (m *model) out(client, server net.PacketConn) net.Addr {
	m.t.Helper()
	external, ok := m.send(client, server.LocalAddr(), server)
	if !ok {
		m.t.Fatal("the server got nothing")
	}
	return external
}

// in reports whether a server reaches a client at an external address. That it
// doesn't is believed once a packet sent later has come on a flow of its own.
func (m *model) in(server net.PacketConn, external net.Addr, client net.PacketConn) bool {
	m.t.Helper()
	if _, err := server.WriteTo([]byte("payload"), external); err != nil {
		m.t.Fatal(err)
	}
	other := m.client()
	defer other.Close()
	if _, ok := m.send(server, m.out(other, server), other); !ok {
		m.t.Fatal("a fresh flow doesn't work")
	}
	_, ok := m.read(client, emuSilence)
	return ok
}

// blocked reports whether nothing comes to the server from a client. There is
// nothing sent later that could come: the wait is the same whatever happens.
func (m *model) blocked(client, server net.PacketConn) bool {
	m.t.Helper()
	if _, err := client.WriteTo([]byte("payload"), server.LocalAddr()); err != nil {
		m.t.Fatal(err)
	}
	_, ok := m.read(server, emuSilence)
	return !ok
}

func portOf(a net.Addr) uint16 { return unmappedAddr(a).Port() }

func unmappedAddr(a net.Addr) netip.AddrPort { return unmapped(a.(*net.UDPAddr).AddrPort()) }
