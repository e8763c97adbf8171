package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds the wait for a condition in the kernel or in another program.
const patience = 20 * time.Second

// needRoot skips a test that makes network namespaces where it can't.
func needRoot(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("kernel test, skipped by -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("kernel test: needs root to make network namespaces and TUN interfaces")
	}
	if _, err := os.Stat(cloneDevice); err != nil {
		t.Skipf("kernel test: %v", err)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("kernel test: %s is not installed (make deps)", p)
		}
	}
}

// space is a network namespace without a name; it ends with its file.
type space struct {
	t  *testing.T
	fd int
}

func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{t: t}
	err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		s.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if errors.Is(err, unix.EPERM) {
		t.Skip("kernel test: no permission to make network namespaces")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	// Nobody else has these addresses: no second of waiting until that is clear.
	s.sysctl("ipv6/conf/default/accept_dad", "0")
	s.ip("link set lo up")
	return s
}

// do runs fn on a thread inside the namespace.
func (s *space) do(fn func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return fn()
	})
}

// onOwnThread runs fn on a thread of its own, which ends with it: no other code
// ever runs in the wrong namespace.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// try runs a program inside and returns what it printed.
func (s *space) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.do(cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return strings.TrimSpace(out.String()), err
}

func (s *space) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// ip runs ip with the words of a line.
func (s *space) ip(line string) string {
	s.t.Helper()
	return s.run("ip", strings.Fields(line)...)
}

// sysctl sets a parameter below /proc/sys/net, which each thread sees as that of
// its namespace.
func (s *space) sysctl(name, value string) {
	s.t.Helper()
	err := s.do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) readSysctl(name string) string {
	s.t.Helper()
	var text []byte
	err := s.do(func() (err error) {
		text, err = os.ReadFile("/proc/sys/net/" + name)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// echo answers TCP connections to an address inside, with what they say and the
// address that it sees them come from, until the test's end.
func (s *space) echo(at netip.AddrPort) {
	s.t.Helper()
	var l net.Listener
	err := s.do(func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(s.t.Context(), "tcp", at.String())
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 1<<16)
				if n, err := c.Read(buf); err == nil {
					from := c.RemoteAddr().String()
					_, _ = c.Write(append(buf[:n], from...))
				}
			}()
		}
	}()
}

// ask sends a word to an echo and returns the address that it saw.
func (s *space) ask(to netip.AddrPort, wait time.Duration) (netip.Addr, error) {
	const word = "hello "
	ctx, cancel := context.WithTimeout(s.t.Context(), wait)
	defer cancel()
	var c net.Conn
	err := s.do(func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte(word)); err != nil {
		return netip.Addr{}, err
	}
	buf := make([]byte, 1<<10)
	n, err := c.Read(buf)
	if err != nil {
		return netip.Addr{}, err
	}
	ap, err := netip.ParseAddrPort(strings.TrimPrefix(string(buf[:n]), word))
	return ap.Addr().Unmap(), err
}

// reaches fails the test unless an echo answers, and returns the address that it
// saw.
func (s *space) reaches(to string) string {
	s.t.Helper()
	from, err := s.ask(netip.MustParseAddrPort(to), patience)
	if err != nil {
		s.t.Fatalf("%s can't be reached: %v", to, err)
	}
	return from.String()
}

// wire joins two namespaces, each side with its addresses.
func wire(t *testing.T, a *space, aName string, aAddrs []string, b *space, bName string, bAddrs []string) {
	t.Helper()
	err := a.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = aName
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(b.fd)})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []struct {
		s     *space
		name  string
		addrs []string
	}{{a, aName, aAddrs}, {b, bName, bAddrs}} {
		side.s.ip("link set " + side.name + " up")
		for _, addr := range side.addrs {
			nodad := ""
			if strings.Contains(addr, ":") {
				nodad = " nodad"
			}
			side.s.ip("addr add " + addr + " dev " + side.name + nodad)
		}
	}
	// The kernel connects the two sides, and gives them addresses, a little later.
	for _, side := range []struct {
		s    *space
		name string
	}{{a, aName}, {b, bName}} {
		eventually(t, func() string {
			state := side.s.ip("-6 addr show dev " + side.name)
			if strings.Contains(state, "state UP") && strings.Contains(state, "inet6 fe80:") && !strings.Contains(state, "tentative") {
				return ""
			}
			return "not up: " + state
		})
	}
}

// eventually polls a condition, which says what is missing, until it says
// nothing.
func eventually(t *testing.T, condition func() string) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := condition()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(missing)
		}
	}
}

// listen takes calls on a socket until the test's end.
func listen(t *testing.T, path string) string {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path
}
