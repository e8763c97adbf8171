package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for something that the kernel does at its
// own pace.
const patience = 20 * time.Second

// enterNamespace moves the test to a network namespace of its own, which ends
// with the test's thread. Subtests would run elsewhere: there must be none.
func enterNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: a network namespace to test in can't be made")
	}
	runtime.LockOSThread() // and never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace to test in: %v", err)
	}
	setUp(t, "lo")
}

// router is another network namespace, and the thread that is in it.
type router struct {
	t     *testing.T
	calls chan func() error
	errs  chan error
	tid   int
}

// newRouter makes a namespace that ends with the test.
func newRouter(t *testing.T) *router {
	t.Helper()
	r := &router{t: t, calls: make(chan func() error), errs: make(chan error)}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		r.tid = unix.Gettid()
		started <- unix.Unshare(unix.CLONE_NEWNET)
		for call := range r.calls {
			r.errs <- call()
		}
		close(r.errs)
	}()
	if err := <-started; err != nil {
		t.Fatalf("make a namespace for a router: %v", err)
	}
	t.Cleanup(func() {
		close(r.calls)
		<-r.errs //nolint:errcheck // it is closed
	})
	return r
}

// do runs call inside the namespace.
func (r *router) do(what string, call func() error) {
	r.t.Helper()
	r.calls <- call
	if err := <-r.errs; err != nil {
		r.t.Fatalf("router: %s: %v", what, err)
	}
}

// connect makes a link: an interface of the test's namespace, and "lan" of the
// router's, with addresses in the form ADDRESS/BITS.
func connect(t *testing.T, r *router, name string, mac net.HardwareAddr, ours, theirs []string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	check(t, "make "+name, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "lan", PeerHardwareAddr: mac, PeerNamespace: netlink.NsPid(r.tid),
	}))
	r.do("set up", func() error {
		if err := setUpLink("lan"); err != nil {
			return err
		}
		return addAddresses("lan", theirs)
	})
	setUp(t, name)
	check(t, "give addresses to "+name, addAddresses(name, ours))
}

// pointToPoint makes a link as tunnels and modems have it, with an address. It
// goes away with the test, or when the result is closed.
func pointToPoint(t *testing.T, name, address string) *os.File {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	tun := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN, Queues: 1, NonPersist: true}
	if err := netlink.LinkAdd(tun); errors.Is(err, os.ErrNotExist) {
		t.Skip("no /dev/net/tun on this machine: a point-to-point link can't be made")
	} else if err != nil {
		t.Fatalf("make %s: %v", name, err)
	}
	t.Cleanup(func() { _ = tun.Fds[0].Close() })
	setUp(t, name)
	check(t, "give an address to "+name, addAddresses(name, []string{address}))
	return tun.Fds[0]
}

func setUpLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// addAddresses gives addresses that can be used at once.
func addAddresses(name string, list []string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range list {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

func setUp(t *testing.T, name string) {
	t.Helper()
	check(t, "set up "+name, setUpLink(name))
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func indexOf(t *testing.T, name string) int {
	t.Helper()
	link, err := netlink.LinkByName(name)
	check(t, "find "+name, err)
	return link.Attrs().Index
}

// defaultVia makes or changes the default route of the main table.
func defaultVia(t *testing.T, name, gateway string) {
	t.Helper()
	gw := net.ParseIP(gateway)
	everything := "0.0.0.0/0"
	if gw.To4() == nil {
		everything = "::/0"
	}
	_, dst, err := net.ParseCIDR(everything)
	check(t, "parse", err)
	check(t, "set the default route", netlink.RouteReplace(&netlink.Route{
		Dst: dst, Gw: gw, LinkIndex: indexOf(t, name), Flags: int(netlink.FLAG_ONLINK), Priority: 100,
	}))
}

// eventually waits until condition holds; what says what it waits for.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for tick := time.NewTicker(10 * time.Millisecond); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// current is Current, once the network is there: interfaces take a moment to
// have a carrier.
func current(t *testing.T, dst string, mark uint32) Snapshot {
	t.Helper()
	var s Snapshot
	var err error
	eventually(t, "a way to "+dst, func() bool {
		s, err = Current(netip.MustParseAddr(dst), mark)
		return err == nil
	})
	return s
}
