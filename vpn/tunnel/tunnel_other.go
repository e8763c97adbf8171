//go:build !linux

package tunnel

import (
	"context"
	"errors"

	"golang.zx2c4.com/wireguard/device"

	"github.com/natprobe/natprobe/vpn"
)

// errOnlyLinux is returned by all that a tunnel could do on another system.
var errOnlyLinux = errors.New("natprobe's own tunnel runs on Linux only; on this system bring the tunnel up " +
	"with its WireGuard, and let `natprobe apply` set the interval")

// Tunnel is a WireGuard interface that is up. On this system there is none.
type Tunnel struct{}

// Up fails: natprobe's own tunnel runs on Linux only.
func Up(context.Context, Options) (*Tunnel, error) { return nil, errOnlyLinux }

// CleanUp finds nothing to clean up.
func CleanUp(context.Context, string, string) (bool, error) { return false, nil }

// Owner finds no tunnel.
func Owner(string, string) (pid int, running bool, err error) { return 0, false, nil }

// Device is nil.
func (*Tunnel) Device() *device.Device { return nil }

// Name is empty.
func (*Tunnel) Name() string { return "" }

// Mark is 0.
func (*Tunnel) Mark() uint32 { return 0 }

// Done is never closed.
func (*Tunnel) Done() <-chan struct{} { return nil }

// Down does nothing.
func (*Tunnel) Down(context.Context) error { return nil }

// SetKeepalive fails.
func (*Tunnel) SetKeepalive(context.Context, vpn.PublicKey, uint16) error { return errOnlyLinux }

// Peers fails.
func (*Tunnel) Peers() ([]vpn.PeerState, error) { return nil, errOnlyLinux }

// Rehome fails.
func (*Tunnel) Rehome(context.Context) error { return errOnlyLinux }
