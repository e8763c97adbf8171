package tunnel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
)

const (
	// cloneDevice makes TUN interfaces.
	cloneDevice = "/dev/net/tun"
	// socketDir is where wg(8) looks for programs that run an interface.
	socketDir = "/var/run/wireguard"
)

func socketPath(name string) string { return filepath.Join(socketDir, name+".sock") }

// checkRights fails early where the interface could never be made: before
// commands of the file have run.
func checkRights(name string) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return noRights(name, unix.EPERM)
	}
	return nil
}

func noRights(name string, err error) error {
	return fmt.Errorf("no permission to make the interface %s: %w; run natprobe as root or with CAP_NET_ADMIN", name, err)
}

// createTUN makes the interface. It ends with its file, so with the process.
func createTUN(name string) (tun.Device, error) {
	t, err := tun.CreateTUN(name, device.DefaultMTU)
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, noRights(name, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL):
		// EINVAL: another kind of interface has the name.
		return nil, taken(name)
	}
	if _, err := os.Stat(cloneDevice); err != nil {
		return nil, fmt.Errorf("the interface %s can't be made, this system has no %s; try `modprobe tun`, "+
			"or give the container the device (docker run --device %s)", name, cloneDevice, cloneDevice)
	}
	return nil, fmt.Errorf("the interface %s can't be made: %w", name, err)
}

func taken(name string) error {
	return fmt.Errorf("there is an interface %s already, and natprobe didn't make it; stop what did "+
		"(`wg-quick down %s`, `ip link del %s`), or give the file another name", name, name, name)
}

// server answers wg(8) on the interface's socket.
type server struct {
	path     string
	device   *device.Device
	listener net.Listener
	// gone is closed when the socket takes no more calls: it was closed, or
	// somebody removed it, which is how one ends a WireGuard program.
	gone chan struct{}

	serving sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]struct{}
}

// serve opens the socket and answers on it until close.
func serve(name string, d *device.Device) (*server, error) {
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		return nil, fmt.Errorf("the socket %s, on which wg calls, can't be opened: %w; another program may "+
			"run an interface of that name, or %s is not writable", socketPath(name), err, socketDir)
	}
	listener, err := ipc.UAPIListen(name, file)
	// UAPIListen works on a copy.
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("the socket %s can't be listened on: %w", socketPath(name), err)
	}
	s := &server{path: socketPath(name), device: d, listener: listener, gone: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	s.serving.Go(s.accept)
	return s, nil
}

// accept takes calls until the listener was closed. The listener has two parts,
// one that takes calls and one that watches the socket's file, and each reports
// its end once; until both have, one of them would wait forever.
func (s *server) accept() {
	gone := sync.OnceFunc(func() { close(s.gone) })
	for ended := 0; ended < 2; {
		c, err := s.listener.Accept()
		if err != nil {
			ended++
			// The part that watches ends at a mere change of permissions, too.
			if _, err := os.Lstat(s.path); err != nil || s.isClosed() || ended == 2 {
				gone()
			}
			continue
		}
		if !s.keep(c) {
			continue
		}
		s.serving.Go(func() {
			s.device.IpcHandle(c) // closes it
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, c)
		})
	}
}

func (s *server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// keep remembers a connection, so that close can end it.
func (s *server) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close() // nobody has said anything on it
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// close ends the socket and all calls, and removes it.
func (s *server) close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close() // IpcHandle closes it once more and tells nobody
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.serving.Wait()
	// The part that watches may have ended, and closed what is its own, before.
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("the socket for wg can't be closed: %w", err)
	}
	return nil
}
