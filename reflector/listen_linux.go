package reflector

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// answering makes a wildcard socket answer from the address that was contacted
// (IP_PKTINFO, and IPV6_RECVPKTINFO of RFC 3542 section 4). Without it the
// kernel picks a source by route, and a NAT drops the answer.
func answering(conn *net.UDPConn) (net.PacketConn, error) {
	local, _ := conn.LocalAddr().(*net.UDPAddr)
	var err error
	if local.IP.To4() != nil {
		err = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true)
	} else {
		err = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true)
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the address that was contacted: %w", err)
	}
	return &wildcard{UDPConn: conn, ipv4: local.IP.To4() != nil}, nil
}

// wildcard is a socket bound to no address. The addresses that ReadFrom returns
// remember which one was contacted, and WriteTo answers from there.
type wildcard struct {
	*net.UDPConn
	ipv4 bool
}

// contact is a sender together with our own address that it contacted.
type contact struct {
	net.UDPAddr
	local netip.Addr // invalid: unknown
}

// ReadFrom reads a datagram. The address is a *contact.
func (w *wildcard) ReadFrom(b []byte) (int, net.Addr, error) {
	var oob [128]byte
	n, control, _, from, err := w.ReadMsgUDPAddrPort(b, oob[:])
	if err != nil {
		return 0, nil, err
	}
	return n, &contact{UDPAddr: *net.UDPAddrFromAddrPort(from), local: w.contacted(oob[:control])}, nil
}

// contacted returns a datagram's destination. On a socket for both families an
// IPv4 destination comes in its IPv6 form.
func (w *wildcard) contacted(oob []byte) netip.Addr {
	var dst net.IP
	if w.ipv4 {
		var cm ipv4.ControlMessage
		if cm.Parse(oob) == nil {
			dst = cm.Dst
		}
	} else {
		var cm ipv6.ControlMessage
		if cm.Parse(oob) == nil {
			dst = cm.Dst
		}
	}
	local, _ := netip.AddrFromSlice(dst) // invalid where there is none
	return local.Unmap()
}

// WriteTo sends a datagram; to a *contact from the address that was contacted.
func (w *wildcard) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, ok := addr.(*contact)
	if !ok || !to.local.IsValid() {
		return w.UDPConn.WriteTo(b, addr)
	}
	var oob []byte
	if to.local.Is4() {
		oob = (&ipv4.ControlMessage{Src: to.local.AsSlice()}).Marshal()
	} else {
		oob = (&ipv6.ControlMessage{Src: to.local.AsSlice()}).Marshal()
	}
	n, _, err := w.WriteMsgUDP(b, oob, &to.UDPAddr)
	return n, err
}

// forbidBroadcast keeps a socket from sending to the broadcast address of a network
// that it is in, which may come as a forged source. Go allows it.
func forbidBroadcast(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0) })
	return errors.Join(controlErr, err)
}

// share lets further sockets have the port of one that is bound. Until here the
// socket had the port alone, so a port that another program uses is told; from
// here on only this user's own programs can share it.
func share(raw syscall.RawConn) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}

// sharing is what a socket does before it binds to a shared port.
func sharing(_, _ string, raw syscall.RawConn) error { return share(raw) }
