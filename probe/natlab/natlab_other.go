//go:build !linux

package natlab

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"time"
)

// Lab is a running network. Systems other than Linux have none.
type Lab struct{ spec Spec }

func onlyLinux() error {
	return unavailable("they are made of the Linux kernel, and this is %s; run natprobe on Linux, "+
		"a virtual machine is enough", runtime.GOOS)
}

// Start fails with ErrUnavailable: only Linux has labs.
func Start(_ context.Context, spec Spec) (*Lab, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	return nil, onlyLinux()
}

// EnterUserNamespace does nothing: only Linux has user namespaces.
func EnterUserNamespace(context.Context, []string) (ran bool, exitCode int, err error) {
	return false, 0, nil
}

// Spec returns what the lab was built from.
func (l *Lab) Spec() Spec { return l.spec }

// ClientAddr returns the zero Addr.
func (l *Lab) ClientAddr() netip.Addr { return netip.Addr{} }

// ServerAddr returns the zero Addr.
func (l *Lab) ServerAddr() netip.Addr { return netip.Addr{} }

// ExternalAddr returns the zero Addr.
func (l *Lab) ExternalAddr(int) netip.Addr { return netip.Addr{} }

// ElsewhereAddr returns the zero Addr.
func (l *Lab) ElsewhereAddr() netip.Addr { return netip.Addr{} }

// ClientListen fails with ErrUnavailable.
func (l *Lab) ClientListen(context.Context, string, string) (net.PacketConn, error) {
	return nil, onlyLinux()
}

// ServerListen fails with ErrUnavailable.
func (l *Lab) ServerListen(context.Context, string, string) (net.PacketConn, error) {
	return nil, onlyLinux()
}

// StartClient fails with ErrUnavailable.
func (l *Lab) StartClient(*exec.Cmd) error { return onlyLinux() }

// StartServer fails with ErrUnavailable.
func (l *Lab) StartServer(*exec.Cmd) error { return onlyLinux() }

// FlushConntrack fails with ErrUnavailable.
func (l *Lab) FlushConntrack(int) error { return onlyLinux() }

// SetTimers fails with ErrUnavailable.
func (l *Lab) SetTimers(_ int, _, _ time.Duration) error { return onlyLinux() }

// SetLoss fails with ErrUnavailable.
func (l *Lab) SetLoss(_, _ float64) error { return onlyLinux() }

// SetLink fails with ErrUnavailable.
func (l *Lab) SetLink(bool) error { return onlyLinux() }

// Move fails with ErrUnavailable.
func (l *Lab) Move(int) error { return onlyLinux() }

// Close does nothing.
func (l *Lab) Close() error { return nil }
