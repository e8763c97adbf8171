package natlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// What crosses the loopback link of an emulated lab is a packet in a frame: the
// address and the port that the client has outside, and the payload.
//
//	1 byte    length of the address, 4 or 16
//	4 or 16   the address
//	2         the port, big-endian
//	the rest  the payload
const (
	maxHeader  = 1 + 16 + 2
	maxFrame   = 65507 // the longest payload of UDP over IPv4
	maxPayload = maxFrame - maxHeader
)

// linkBuffer is what the system is asked to hold for a socket of the link that
// isn't read at once. Some allow less.
const linkBuffer = 1 << 20

func frame(outside netip.AddrPort, payload []byte) []byte {
	addr := outside.Addr().AsSlice()
	b := make([]byte, 0, maxHeader+len(payload))
	b = append(b, byte(len(addr))) //nolint:gosec // 4 or 16
	b = append(b, addr...)
	b = binary.BigEndian.AppendUint16(b, outside.Port())
	return append(b, payload...)
}

// unframe returns what is in a frame, and false where it isn't one.
func unframe(b []byte) (outside netip.AddrPort, payload []byte, ok bool) {
	if len(b) == 0 {
		return netip.AddrPort{}, nil, false
	}
	end := 1 + int(b[0])
	if len(b) < end+2 {
		return netip.AddrPort{}, nil, false
	}
	addr, ok := netip.AddrFromSlice(b[1:end])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[end:])), b[end+2:], ok
}

// listenLoopback opens a socket of the link.
func listenLoopback() (*net.UDPConn, error) {
	var errs []error
	for _, host := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, 0)))
		if err == nil {
			_ = conn.SetReadBuffer(linkBuffer) // less will mostly do
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no socket on this machine's loopback, which emulated labs need: %w", errors.Join(errs...))
}

// serverSocket is a socket of an emulated lab's server: one on the loopback,
// that shows the lab's addresses instead of the loopback's.
type serverSocket struct {
	conn  *net.UDPConn
	lab   *emulated
	local netip.AddrPort // in the lab
	real  netip.AddrPort // on the loopback
	link  netip.AddrPort // the lab's end of it

	mu     sync.Mutex // of buffer
	buffer []byte
}

func (e *emulated) listenServer(_ context.Context, network, address string) (net.PacketConn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	local, err := e.bind(network, address, e.serverAddr(), func(at netip.AddrPort) bool { return e.servers[at] != nil })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	conn, err := listenLoopback()
	if err != nil {
		return nil, err
	}
	s := &serverSocket{
		conn: conn, lab: e, local: local,
		real: udpAddr(conn), link: udpAddr(e.link),
		buffer: make([]byte, maxFrame),
	}
	e.servers[local] = s
	return s, nil
}

func udpAddr(conn *net.UDPConn) netip.AddrPort {
	addr, _ := conn.LocalAddr().(*net.UDPAddr) // a UDP socket has no other
	return unmapped(addr.AddrPort())
}

// ReadFrom reads a packet, and tells where it comes from in the lab. Nobody else
// on this machine gets in.
func (s *serverSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		n, sender, err := s.conn.ReadFromUDPAddrPort(s.buffer)
		if err != nil {
			return 0, nil, err
		}
		if unmapped(sender) != s.link {
			continue
		}
		if from, payload, ok := unframe(s.buffer[:n]); ok {
			return copy(b, payload), net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// WriteTo sends a packet to an address in the lab.
func (s *serverSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("write to %v: it isn't a UDP address", to)
	}
	if len(b) > maxPayload {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: to, Err: syscall.EMSGSIZE}
	}
	if _, err := s.conn.WriteToUDPAddrPort(frame(unmapped(udp.AddrPort()), b), s.link); err != nil {
		return 0, err
	}
	return len(b), nil
}

// LocalAddr returns the socket's address in the lab.
func (s *serverSocket) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(s.local) }

// Close closes the socket. Its port is free then.
func (s *serverSocket) Close() error {
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	if s.lab.servers[s.local] == s {
		delete(s.lab.servers, s.local)
	}
	return s.conn.Close()
}

// SetDeadline sets the deadlines for reading and writing.
func (s *serverSocket) SetDeadline(t time.Time) error { return s.conn.SetDeadline(t) }

// SetReadDeadline sets the time at which reading gives up.
func (s *serverSocket) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

// SetWriteDeadline sets the time at which writing gives up.
func (s *serverSocket) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }
