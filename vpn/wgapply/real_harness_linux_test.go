package wgapply

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/vpn"
)

// What is here makes tunnels of Debian's wireguard-go between two network
// namespaces of their own. The host's network is not touched.

const (
	// patienceInTests bounds the wait for what must come; only a test that
	// fails uses it up.
	patienceInTests = 40 * time.Second
	pollEach        = 25 * time.Millisecond
)

// nodes makes names that neither other tests nor other runs of them use: all
// namespaces have the folder of sockets in common.
var nodes atomic.Uint32

// node is one end of a tunnel.
type node struct {
	namespace, name string
	// underlay is its address on the wire.
	underlay string
	key      wgtypes.Key
	program  *exec.Cmd
}

func (n *node) public() vpn.PublicKey { return vpn.PublicKey(n.key.PublicKey()) }

// tunnel makes two nodes that are on one wire and know each other. Each has the
// keepalive given in seconds, a preshared key, and a second peer that is nowhere.
func tunnel(t *testing.T, keepaliveA, keepaliveB int) (a, b *node) {
	t.Helper()
	needTools(t)
	psk, err := wgtypes.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	a, b = newNode(t, "192.0.2.1"), newNode(t, "192.0.2.2")
	run(t, "ip", "link", "add", "wire", "netns", a.namespace, "type", "veth", "peer", "name", "wire", "netns", b.namespace)
	for _, n := range []*node{a, b} {
		run(t, "ip", "-n", n.namespace, "address", "add", n.underlay+"/24", "dev", "wire")
		run(t, "ip", "-n", n.namespace, "link", "set", "wire", "up")
		n.start(t)
	}
	// wireguard-go begins when it is configured. The one that calls comes last, or
	// its first call is lost.
	b.configure(t, a, psk, keepaliveB)
	a.configure(t, b, psk, keepaliveA)
	for _, n := range []*node{a, b} {
		run(t, "ip", "-n", n.namespace, "link", "set", n.name, "up")
	}
	return a, b
}

func needTools(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("SKIPPED, %s NEEDS ROOT: it makes network namespaces and TUN devices", t.Name())
	}
	for _, tool := range []string{"ip", "wg", "wireguard-go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED, %s NEEDS %s: %v", t.Name(), tool, err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("SKIPPED, %s NEEDS TUN DEVICES: %v", t.Name(), err)
	}
}

func newNode(t *testing.T, underlay string) *node {
	t.Helper()
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("npa%d-%d", os.Getpid(), nodes.Add(1))
	n := &node{namespace: name, name: name, underlay: underlay, key: key}
	if out, err := exec.Command("ip", "netns", "add", n.namespace).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, %s NEEDS NETWORK NAMESPACES: %v: %s", t.Name(), err, out)
	}
	t.Cleanup(func() { run(t, "ip", "netns", "del", n.namespace) })
	return n
}

// start runs wireguard-go and waits until it answers.
func (n *node) start(t *testing.T) {
	t.Helper()
	n.program = exec.Command("ip", "netns", "exec", n.namespace, "wireguard-go", "--foreground", n.name)
	n.program.Env = append(os.Environ(), "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1")
	if err := n.program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.stop(t, syscall.SIGTERM) })
	eventually(t, "an answer of "+n.name, func() bool {
		return exec.Command("wg", "show", n.name).Run() == nil
	})
}

// stop ends wireguard-go, and removes what it leaves behind when the test ends.
func (n *node) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	if n.program.ProcessState == nil {
		if err := n.program.Process.Signal(signal); err != nil {
			t.Errorf("ending wireguard-go: %v", err)
		}
		var died *exec.ExitError
		if err := n.program.Wait(); err != nil && !errors.As(err, &died) {
			t.Errorf("waiting for wireguard-go: %v", err)
		}
	}
	if signal == syscall.SIGTERM {
		_ = os.Remove(n.socket())
	}
}

func (n *node) socket() string {
	return filepath.Join(filepath.Dir(sockets), n.name+".sock")
}

func (n *node) configure(t *testing.T, peer *node, psk wgtypes.Key, keepalive int) {
	t.Helper()
	nowhere, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`[Interface]
PrivateKey = %s
ListenPort = 51820
[Peer]
PublicKey = %s
PresharedKey = %s
Endpoint = %s:51820
AllowedIPs = 10.88.0.0/16, fd88::/64, 198.51.100.7/32
PersistentKeepalive = %d
[Peer]
PublicKey = %s
AllowedIPs = 10.99.0.0/16
`, n.key, peer.public(), psk, peer.underlay, keepalive, nowhere.PublicKey())
	path := filepath.Join(t.TempDir(), "wg.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "wg", "setconf", n.name, path)
}

// dump returns what wg says of an interface, a row each for itself and for its
// peers, without what changes by itself (handshake and bytes).
func (n *node) dump(t *testing.T) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(run(t, "wg", "show", n.name, "dump")) {
		cells := strings.Split(strings.TrimSpace(line), "\t")
		if len(cells) == 8 {
			allowed := strings.Split(cells[3], ",")
			slices.Sort(allowed)
			cells = []string{cells[0], cells[1], cells[2], strings.Join(allowed, ","), cells[7]}
		}
		rows = append(rows, cells)
	}
	// The peers of wireguard-go are in no order.
	slices.SortFunc(rows[1:], slices.Compare)
	return rows
}

// open opens a node's interface and waits for its first handshake.
func (n *node) open(t *testing.T, peer *node) *Interface {
	t.Helper()
	i, err := Open(n.name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	eventually(t, "a handshake", func() bool {
		p := peerOf(t, i, peer.public())
		return !p.LastHandshake.IsZero() && p.SentBytes > 0 && p.ReceivedBytes > 0
	})
	return i
}

// eventually waits for what must come.
func eventually(t *testing.T, what string, came func() bool) {
	t.Helper()
	poll := time.NewTicker(pollEach)
	defer poll.Stop()
	for deadline := time.Now().Add(patienceInTests); time.Now().Before(deadline); <-poll.C {
		if came() {
			return
		}
	}
	t.Fatalf("no %s within %v", what, patienceInTests)
}

// run runs a program to its end and returns what it prints.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	var complaint bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, complaint.String())
	}
	return string(out)
}
