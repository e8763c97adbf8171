package main_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/natprobe/natprobe/probe/natlab"
)

// onServer runs fn on a thread inside the namespace of a lab's server, which it
// finds by a socket that is there.
func onServer(t *testing.T, n *kernelNet, fn func() error) {
	t.Helper()
	inside, err := n.ServerListen(t.Context(), "udp", ":0") // its own address may be gone
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	raw, err := inside.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	enter := func() error {
		namespace, failure := 0, error(nil)
		err := raw.Control(func(fd uintptr) { namespace, failure = unix.IoctlRetInt(int(fd), unix.SIOCGSKNS) })
		if err != nil {
			return err
		}
		if failure != nil {
			return fmt.Errorf("find the server's namespace: %w", failure)
		}
		defer unix.Close(namespace)
		return unix.Setns(namespace, unix.CLONE_NEWNET)
	}
	done := make(chan error, 1)
	go func() { // on a thread of its own, which ends with it, as it can't be brought back
		runtime.LockOSThread()
		err := enter()
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// serverLink returns the link and an address of it, for netlink.
func serverLink(addr netip.Addr) (netlink.Link, *netlink.Addr, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Flags&net.FlagLoopback == 0 })
	if i < 0 {
		return nil, nil, fmt.Errorf("the server has no link")
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
	if addr.Is6() {
		a = &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}
	}
	return links[i], a, nil
}

// addServerAddr gives a lab's server another address.
func addServerAddr(t *testing.T, n *kernelNet, addr netip.Addr) {
	t.Helper()
	onServer(t, n, func() error {
		link, a, err := serverLink(addr)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, a)
	})
}

// removeServerAddr takes it away again.
func removeServerAddr(t *testing.T, n *kernelNet, addr netip.Addr) {
	t.Helper()
	onServer(t, n, func() error {
		link, a, err := serverLink(addr)
		if err != nil {
			return err
		}
		return netlink.AddrDel(link, a)
	})
}

// TestKernelAddressGone: where one of the reflector's addresses goes away, the
// other goes on, and when it comes back it works without a restart.
func TestKernelAddressGone(t *testing.T) {
	t.Parallel()
	n := startDiscoveryNet(t, natlab.Spec{})
	alternate := n.ServerAddr().Next().Next()
	conn, err := n.ClientListen(t.Context(), "udp", netip.AddrPortFrom(n.ClientAddr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := func(from netip.Addr, patience time.Duration) bool {
		t.Helper()
		request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, labPort))
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			_, _ = conn.WriteTo(request.Raw, to) // it may have no way
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			b := make([]byte, 2048)
			size, _, err := conn.ReadFrom(b)
			m := &stun.Message{Raw: b[:size]}
			if err == nil && m.Decode() == nil && m.TransactionID == request.TransactionID {
				return true
			}
		}
		return false
	}
	if !answers(n.ServerAddr(), stunPatience) || !answers(alternate, stunPatience) {
		t.Fatal("one of the addresses doesn't answer at all")
	}
	removeServerAddr(t, n, alternate)
	if answers(alternate, 500*time.Millisecond) {
		t.Error("an address that is gone answers")
	}
	if !answers(n.ServerAddr(), stunPatience) {
		t.Error("without the alternate address the primary one doesn't answer")
	}
	addServerAddr(t, n, alternate)
	if !answers(alternate, stunPatience) {
		t.Error("the address that came back doesn't answer")
	}
}

// forger sends to a lab's reflector from IPv4 addresses that aren't its own.
type forger struct {
	t  *testing.T
	fd int
	to netip.AddrPort
}

// newForger returns a forger on the server itself.
func newForger(t *testing.T, n *kernelNet) *forger {
	t.Helper()
	f := &forger{t: t, to: n.reflectorAddr()}
	onServer(t, n, f.open)
	return f
}

// open opens the socket in the namespace of the calling thread.
func (f *forger) open() (err error) {
	f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	return err
}

func (f *forger) close() { _ = unix.Close(f.fd) }

// send sends a payload from any source.
func (f *forger) send(from netip.AddrPort, payload []byte) {
	const header = 28
	b := make([]byte, header, header+len(payload))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel adds length and checksum
	src, dst := from.Addr().As4(), f.to.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], f.to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	if err := unix.Sendto(f.fd, append(b, payload...), 0, &unix.SockaddrInet4{Addr: dst}); err != nil {
		f.t.Errorf("forging: %v", err)
	}
}
