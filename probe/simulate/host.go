package simulate

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/natprobe/natprobe/probe/natmodel"
)

// The range of ports given out to sockets that ask for none: Linux's default.
const (
	ephemeralMin = 32768
	ephemeralMax = 60999
)

// Host is a machine with one address.
type Host struct {
	net   *Network
	addr  netip.Addr
	conns map[uint16]*conn // guarded by net.mu
	next  int              // the offset at which to look for a free port
}

func newHost(n *Network, addr netip.Addr) *Host {
	h := &Host{net: n, addr: addr, conns: make(map[uint16]*conn)}
	h.next = int(mix(n.cfg.Seed^flow{src: netip.AddrPortFrom(addr, 0)}.hash()) % (ephemeralMax - ephemeralMin + 1))
	return h
}

// Addr returns the host's own address.
func (h *Host) Addr() netip.Addr { return h.addr }

// ListenPacket opens a UDP socket, as net.ListenConfig does. Network is udp, udp4
// or udp6. Address is an IP address and a port; the address may be missing or
// unspecified, and port 0 asks for any free port. Errors wrap
// syscall.EADDRINUSE, EADDRNOTAVAIL or EAFNOSUPPORT where a kernel's would.
//
// The connection also has ReadFromUDPAddrPort and WriteToUDPAddrPort as
// *net.UDPConn has them, and SetTTL(int) error for the TTL of what it sends.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := h.listen(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return c, nil
}

func (h *Host) listen(ctx context.Context, network, address string) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	port, err := h.parse(network, address)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.closed {
		return nil, net.ErrClosed
	}
	if port == 0 {
		if port = h.freePort(); port == 0 {
			return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
		}
	}
	if h.conns[port] != nil {
		return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	c := &conn{
		host:    h,
		local:   netip.AddrPortFrom(h.addr, port),
		ttl:     natmodel.DefaultTTL,
		ready:   make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
	h.conns[port] = c
	return c, nil
}

// parse checks that this host can listen on an address, and returns the port.
func (h *Host) parse(network, address string) (uint16, error) {
	switch {
	case network != "udp" && network != "udp4" && network != "udp6":
		return 0, net.UnknownNetworkError(network)
	case network == "udp4" && !h.addr.Is4(), network == "udp6" && !h.addr.Is6():
		return 0, os.NewSyscallError("socket", syscall.EAFNOSUPPORT)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q: %w", service, err)
	}
	if host == "" {
		return uint16(port), nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return 0, err
	}
	if addr = addr.Unmap(); !addr.IsUnspecified() && addr != h.addr {
		return 0, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	return uint16(port), nil
}

// freePort walks the ephemeral ports. It returns 0 where all are in use.
func (h *Host) freePort() uint16 {
	const span = ephemeralMax - ephemeralMin + 1
	for range span {
		port := uint16(ephemeralMin + h.next) //nolint:gosec // at most ephemeralMax
		h.next = (h.next + 1) % span
		if h.conns[port] == nil {
			return port
		}
	}
	return 0
}

// closeAll closes all sockets. The caller holds net.mu.
func (h *Host) closeAll() {
	for _, c := range h.conns {
		c.shut()
	}
	clear(h.conns)
}
