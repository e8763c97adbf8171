package wgapply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/natprobe/natprobe/vpn"
)

// ErrNoInterface is wrapped where there is no WireGuard interface of that name,
// or none any more.
var ErrNoInterface = errors.New("no such WireGuard interface")

// ErrNoPeer is wrapped where an interface doesn't have a peer, or not any more.
var ErrNoPeer = errors.New("no such peer")

// ErrRefused is wrapped where changing a peer would do harm, or can't be done
// without the risk of making a peer that was just removed.
var ErrRefused = errors.New("not changed")

// ErrNoAnswer is wrapped where the program behind an interface doesn't answer.
var ErrNoAnswer = errors.New("no answer")

func noPeer(name string, peer vpn.PublicKey) error {
	return fmt.Errorf("%w on %s: %s; wg show %s lists them", ErrNoPeer, name, peer, name)
}

// explain turns what went wrong with an interface into a sentence. What an
// answer said is left out unless it is the system's own word for an error: it
// may hold a key.
func explain(name string, err error) error {
	var (
		call   *os.SyscallError
		socket *net.OpError
		errno  syscall.Errno
	)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrNoAnswer):
		return err
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: the program that ran %s has ended and left its socket behind; start it again", ErrNoInterface, name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: only root may look at WireGuard interfaces and change them; try sudo", name, fs.ErrPermission)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%s: the program that runs it ended while it was asked: %w", name, ErrNoAnswer)
	case errors.As(err, &errno), errors.As(err, &socket), errors.As(err, &call):
		return fmt.Errorf("%s: %w", name, err)
	}
	return fmt.Errorf("%s: what its program answers is not understood; does wg show %s print it?", name, name)
}

// missing says that there is no WireGuard interface of a name, and which there
// are.
func missing(name string, others []string) error {
	_, err := net.InterfaceByName(name)
	isLink := err == nil
	switch {
	case isLink && len(others) > 0:
		return fmt.Errorf("%w: %s is an interface of another kind; those of WireGuard are %s", ErrNoInterface, name, strings.Join(others, ", "))
	case isLink:
		return fmt.Errorf("%w: %s is an interface of another kind, and there is none of WireGuard now", ErrNoInterface, name)
	case len(others) > 0:
		return fmt.Errorf("%w: %s; there are %s", ErrNoInterface, name, strings.Join(others, ", "))
	}
	return fmt.Errorf("%w: %s; this machine has none at all now, so bring it up first (wg-quick up %s)", ErrNoInterface, name, name)
}
