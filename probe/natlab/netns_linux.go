package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// threadNetNS names the namespace of the thread that opens it.
const threadNetNS = "/proc/thread-self/ns/net"

// namespace is a network namespace without a name. It exists as long as its
// file descriptor or a socket made in it is open.
type namespace struct{ fd int }

// newNamespace makes an empty network namespace.
func newNamespace() (*namespace, error) {
	var ns *namespace
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		fd, err := openThreadNetNS()
		if err != nil {
			return err
		}
		ns = &namespace{fd: fd}
		return nil
	})
	return ns, err
}

// do runs fn on a thread that is inside the namespace. Sockets that fn opens,
// and programs that it starts, stay there. fn must not leave by
// runtime.Goexit.
func (n *namespace) do(fn func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the lab's network namespace: %w", err)
		}
		return fn()
	})
}

func (n *namespace) close() error { return unix.Close(n.fd) }

// listen opens a packet socket inside the namespace.
func (n *namespace) listen(ctx context.Context, network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := n.do(func() (err error) {
		var lc net.ListenConfig
		conn, err = lc.ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// start starts a program inside the namespace.
func (n *namespace) start(cmd *exec.Cmd) error { return n.do(cmd.Start) }

// writeSysctl sets a parameter for the network namespace of the calling
// thread: below /proc/sys/net the kernel shows each thread its own.
func writeSysctl(name, value string) error {
	path := "/proc/sys/net/" + name
	err := os.WriteFile(path, []byte(value), 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("this kernel has no %s: %w", path, err)
	case errors.Is(err, unix.EROFS), errors.Is(err, os.ErrPermission):
		return unavailable("%s can't be written (%w); inside a container, give it its own writable /proc/sys "+
			"(docker run --privileged), or run on the machine itself", path, err)
	}
	return err
}

func readSysctl(name string) (string, error) {
	text, err := os.ReadFile("/proc/sys/net/" + name)
	return strings.TrimSpace(string(text)), err
}

// onOwnThread runs fn on a thread that nothing else uses meanwhile, and brings
// the thread back to its network namespace. Where that fails the thread ends
// with the goroutine, so no other code ever runs in the wrong namespace. The
// caller's own thread is never touched for the same reason.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := openThreadNetNS()
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = fn()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		// Nothing was written to it: closing can't lose anything.
		_ = unix.Close(home)
		done <- err
	}()
	return <-done
}

func openThreadNetNS() (int, error) {
	fd, err := unix.Open(threadNetNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", threadNetNS, err)
	}
	return fd, nil
}
