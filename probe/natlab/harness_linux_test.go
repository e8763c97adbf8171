package natlab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	// patience bounds the wait for what must come; it is only ever used up
	// by a test that fails.
	patience = 10 * time.Second
	// silence is how long nothing must come, after something that was sent
	// later has come already.
	silence = 50 * time.Millisecond

	// childTask tells the test program to do one thing instead of its tests.
	childTask = "NATLAB_TEST_CHILD"
)

// TestMain runs the tests inside a user namespace where the user has no
// privileges, so that the labs are tested for everyone who can have them.
func TestMain(m *testing.M) {
	if task := os.Getenv(childTask); task != "" {
		os.Exit(runChild(task))
	}
	ran, code, err := EnterUserNamespace(context.Background(), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "SKIPPING ALL LABS:", err)
	}
	if ran {
		os.Exit(code)
	}
	if err := manyAtOnce(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// manyAtOnce lets more tests run at the same time than there are processors,
// unless the user said how many: these tests wait for the kernel's timers most
// of their time.
func manyAtOnce() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", "32")
}

// lab starts a lab for a test, or skips the test where there can't be one.
func lab(t testing.TB, spec Spec) *Lab {
	t.Helper()
	l, err := Start(t.Context(), spec)
	if errors.Is(err, ErrUnavailable) {
		t.Skipf("SKIPPED, %s NEEDS A KERNEL LAB: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// network is a lab with a server's socket and a flow that is kept for
// synchronisation only.
type network struct {
	*Lab
	t       testing.TB
	server  net.PacketConn
	control *flow
}

func openNetwork(t testing.TB, spec Spec) *network {
	t.Helper()
	n := &network{Lab: lab(t, spec), t: t}
	n.server = n.listen(n.ServerListen, n.ServerAddr())
	n.control = n.flow()
	return n
}

func (n *network) listen(listen func(context.Context, string, string) (net.PacketConn, error), addr netip.Addr) net.PacketConn {
	n.t.Helper()
	conn, err := listen(n.t.Context(), "udp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// flow is a client's socket, and where the server saw it come from.
type flow struct {
	n        *network
	conn     net.PacketConn
	external net.Addr
	// The last outbound packet passed the boxes between these two moments.
	before, after time.Time
}

func (n *network) flow() *flow {
	n.t.Helper()
	return &flow{n: n, conn: n.listen(n.ClientListen, n.ClientAddr())}
}

func (f *flow) localPort() uint16 { return port(f.conn.LocalAddr()) }

func port(a net.Addr) uint16 { return a.(*net.UDPAddr).AddrPort().Port() }

func address(a net.Addr) netip.Addr { return a.(*net.UDPAddr).AddrPort().Addr().Unmap() }

// send sends a packet from the client to the server.
func (f *flow) send() {
	f.n.t.Helper()
	f.before = time.Now()
	_, err := f.conn.WriteTo([]byte("out"), f.n.server.LocalAddr())
	f.after = time.Now()
	if err != nil {
		f.n.t.Fatalf("client: %v", err)
	}
}

// request sends a packet and has the server receive it.
func (f *flow) request() {
	f.n.t.Helper()
	f.send()
	f.external = f.n.receive(f.n.server)
	f.after = time.Now()
}

// roundTrip sends a request and has the client receive the reply.
func (f *flow) roundTrip() {
	f.n.t.Helper()
	f.request()
	f.n.reply(f.external)
	f.n.receive(f.conn)
}

func (n *network) reply(to net.Addr) {
	n.t.Helper()
	if _, err := n.server.WriteTo([]byte("in"), to); err != nil {
		n.t.Fatalf("server: %v", err)
	}
}

func (n *network) receive(conn net.PacketConn) net.Addr {
	n.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		n.t.Fatal(err)
	}
	from, err := read(conn)
	if err != nil {
		n.t.Fatalf("nothing came: %v", err)
	}
	return from
}

func read(conn net.PacketConn) (net.Addr, error) {
	var buf [64]byte
	_, from, err := conn.ReadFrom(buf[:])
	return from, err
}

// reaches sends a packet from the server to the flow's mapping and reports
// whether the client gets it.
func (f *flow) reaches() bool {
	f.n.t.Helper()
	return f.hears(f.n.server)
}

// hears is reaches for any of the server's sockets. That the client doesn't get
// the packet is only believed once one sent later has come over the control
// flow.
func (f *flow) hears(from net.PacketConn) bool {
	f.n.t.Helper()
	if _, err := from.WriteTo([]byte("in"), f.external); err != nil {
		f.n.t.Fatalf("server: %v", err)
	}
	f.n.control.roundTrip()
	if err := f.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		f.n.t.Fatal(err)
	}
	_, err := read(f.conn)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		f.n.t.Fatal(err)
	}
	return err == nil
}

// wait lets real time pass, which the kernel's timers need.
func wait(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test was stopped")
	}
}

func (n *network) kernel() *kernelLab { return n.net.(*kernelLab) }

// inside runs fn in the network of a node: 0 is the client, then come the
// boxes, then the server.
func (n *network) inside(node int, fn func() error) {
	n.t.Helper()
	if err := n.kernel().with(node, func(ns *namespace) error { return ns.do(fn) }); err != nil {
		n.t.Fatal(err)
	}
}

// tracked returns how many flows the kernel keeps track of on a node.
func (n *network) tracked(node int) string {
	n.t.Helper()
	var count string
	n.inside(node, func() (err error) {
		count, err = readSysctl("netfilter/nf_conntrack_count")
		return err
	})
	return count
}

// runChild does what a test wants done in a process of its own.
func runChild(task string) int {
	switch task {
	case "interfaces":
		links, err := net.Interfaces()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		var names []string
		for _, link := range links {
			names = append(names, link.Name)
		}
		fmt.Print(strings.Join(names, " "))
		return 0
	case "tun":
		return tunChild()
	case "userns":
		return userNamespaceChild()
	}
	fmt.Println("unknown task", task)
	return 1
}
