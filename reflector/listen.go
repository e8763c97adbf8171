package reflector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// socketBuffer is the buffer in bytes that is asked for, each way, so that a
// second of a busy reflector's packets survives a pause of the process. The
// system may grant less.
const socketBuffer = 4 << 20

// Listen opens a UDP socket on an IP address and port, as "192.0.2.1:3478" or
// "[2001:db8::1]:3478". Without an address, as ":3478" or "[::]:3478", the
// socket takes IPv4 and IPv6, as far as the machine has both, "0.0.0.0:3478"
// IPv4 only; it then answers from the address that was contacted, where the
// system can do that (Linux), and fails elsewhere. Port 0 takes any free port.
func Listen(ctx context.Context, address string) (net.PacketConn, error) {
	conn, err := listenConfig(ctx, net.ListenConfig{}, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", address, err)
	}
	return conn, nil
}

// ParseListen reads an address as Listen takes it. The unspecified address of
// IPv6 is what stands for both families.
func ParseListen(address string) (netip.AddrPort, error) {
	if strings.HasPrefix(address, ":") {
		address = "[::]" + address
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}, errors.New("want IP:PORT, as 192.0.2.1:3478 or [2001:db8::1]:3478")
	}
	return ap, nil
}

func listenConfig(ctx context.Context, config net.ListenConfig, address string) (net.PacketConn, error) {
	ap, err := ParseListen(address)
	if err != nil {
		return nil, err
	}
	network := "udp" // both families, for an unspecified IPv6 address, or the one there is
	switch {
	case ap.Addr().Unmap().Is4():
		network = "udp4"
	case !ap.Addr().IsUnspecified():
		network = "udp6"
	}
	conn, err := config.ListenPacket(ctx, network, ap.String())
	if err != nil {
		return nil, err
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("got a %T, want a UDP socket", conn), conn.Close())
	}
	if err := forbidBroadcast(udp); err != nil {
		return nil, errors.Join(fmt.Errorf("forbid broadcasts: %w", err), udp.Close())
	}
	_ = udp.SetReadBuffer(socketBuffer) // what the system grants will do
	_ = udp.SetWriteBuffer(socketBuffer)
	if !ap.Addr().Unmap().IsUnspecified() {
		return udp, nil
	}
	wildcard, err := answering(udp)
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	return wildcard, nil
}

// errNoSharing says that one socket must do.
var errNoSharing = errors.New("sockets can't share a port on this system")

// ListenShared opens so many sockets on one address and port, among which the
// system spreads the peers (SO_REUSEPORT on Linux); elsewhere it opens one. It
// fails, as Listen does, where another program has the port.
func ListenShared(ctx context.Context, address string, sockets int) ([]net.PacketConn, error) {
	first, err := Listen(ctx, address)
	if err != nil {
		return nil, err
	}
	conns := []net.PacketConn{first}
	if sockets <= 1 {
		return conns, nil
	}
	if err := shareConn(first); err != nil {
		return conns, nil //nolint:nilerr // one socket does it all
	}
	for len(conns) < sockets {
		conn, err := listenConfig(ctx, net.ListenConfig{Control: sharing}, first.LocalAddr().String())
		if err != nil {
			for _, conn := range conns {
				_ = conn.Close() // the first error tells
			}
			return nil, fmt.Errorf("listen on %q with %d sockets: %w", address, sockets, err)
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func shareConn(conn net.PacketConn) error {
	system, ok := conn.(syscall.Conn)
	if !ok {
		return errNoSharing
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return err
	}
	return share(raw)
}
