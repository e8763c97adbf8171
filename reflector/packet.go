package reflector

import (
	"net"
	"net/netip"
)

// way is how a datagram came, and so how one goes back.
type way struct {
	peer netip.AddrPort // never an IPv4 address in its IPv6 form
	// local is our own address that was contacted, where the socket is bound to
	// none; invalid: unknown.
	local netip.Addr
	// addr is the peer as a net.PacketConn names it that is no system's socket,
	// to be given back to it; nil: as its address and port say.
	addr net.Addr
}

// packet is a datagram that came or that goes.
type packet struct {
	way
	data   []byte
	cut    int  // received: how many bytes more it had than the buffer
	failed bool // sent: the socket refused it
}

// transport moves packets through a socket.
type transport interface {
	// receive waits for packets. They are valid until it is called again, by the
	// same goroutine.
	receive() ([]packet, error)
	// send sends packets at once, or marks them as failed. It may be called by
	// several goroutines.
	send(packets []packet)
}

// anyConn is the transport of any net.PacketConn.
type anyConn struct {
	conn    net.PacketConn
	packets [1]packet
	buffer  []byte
}

// anyBuffer holds every UDP datagram, so none is ever cut: where it doesn't,
// Windows fails.
const anyBuffer = 64 << 10

func newAnyConn(conn net.PacketConn) *anyConn {
	return &anyConn{conn: conn, buffer: make([]byte, anyBuffer)}
}

func (c *anyConn) receive() ([]packet, error) {
	n, addr, err := c.conn.ReadFrom(c.buffer)
	if err != nil {
		return nil, err
	}
	c.packets[0] = packet{way: way{peer: addrPort(addr), addr: addr}, data: c.buffer[:n]}
	return c.packets[:], nil
}

func (c *anyConn) send(packets []packet) {
	for i := range packets {
		p := &packets[i]
		addr := p.addr
		if addr == nil {
			addr = net.UDPAddrFromAddrPort(p.peer)
		}
		_, err := c.conn.WriteTo(p.data, addr)
		p.failed = err != nil
	}
}

// addrPort returns the address of a datagram's sender; invalid for what is no
// UDP address.
func addrPort(addr net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch addr := addr.(type) {
	case interface{ AddrPort() netip.AddrPort }:
		ap = addr.AddrPort()
	case nil:
	default:
		ap, _ = netip.ParseAddrPort(addr.String()) // invalid is what is left of an error
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
