package main_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
)

// What is here runs Debian's wireguard-go and wg beside natprobe.

// inside are the addresses of one end within the tunnel.
type inside struct{ ip4, ip6 netip.Addr }

var (
	serverInside = inside{insideServer, netip.MustParseAddr("fd77::1")}
	clientInside = inside{insideClient, netip.MustParseAddr("fd77::2")}
)

func (i inside) lines() string { return fmt.Sprintf("Address = %v/24, %v/64\n", i.ip4, i.ip6) }
func (i inside) hosts() string { return fmt.Sprintf("%v/32,%v/128", i.ip4, i.ip6) }

// ends are the two ends of a tunnel with IPv4 and IPv6 in it: their keys, and a
// file of wg-quick for each, which either program can have.
type ends struct {
	server, client         keyPair
	serverFile, clientFile string
	psk, endpoint          string // what they share, and where the client finds the server
}

// newEnds returns the files of a server and a client that keeps an interval.
func newEnds(t *testing.T, server netip.Addr, keepalive string) ends {
	t.Helper()
	e := ends{server: newKeys(t), client: newKeys(t), psk: newKeys(t).private, endpoint: netip.AddrPortFrom(server, 51820).String()}
	e.serverFile = fmt.Sprintf("[Interface]\nPrivateKey = %s\n%sListenPort = 51820\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s\n",
		e.server.private, serverInside.lines(), e.client.public, e.psk, clientInside.hosts())
	e.clientFile = fmt.Sprintf("[Interface]\nPrivateKey = %s\n%s[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s\nEndpoint = %s\n",
		e.client.private, clientInside.lines(), e.server.public, e.psk, serverInside.hosts(), e.endpoint)
	if keepalive != "" {
		e.clientFile += "PersistentKeepalive = " + keepalive + "\n"
	}
	return e
}

// allowIPv6 lets new interfaces on both sides have IPv6 in a lab of IPv4.
func allowIPv6(t *testing.T, lab *natlab.Lab) {
	t.Helper()
	for _, start := range []startFunc{lab.StartClient, lab.StartServer} {
		mustRunOn(t, start, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
	}
}

// startFunc starts a program on one side of a lab.
type startFunc func(*exec.Cmd) error

// finished is what a program gave that ran to its end.
type finished struct {
	stdout, stderr string
	status         int
}

// runOn runs a program on one side of a lab to its end.
func runOn(t *testing.T, start startFunc, name string, args ...string) finished {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "NATPROBE_TEST_AS_PROGRAM=1", "NATPROBE_REFLECTOR=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := start(cmd); err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return finished{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// mustRunOn is runOn with a program that must succeed; it returns what that
// printed.
func mustRunOn(t *testing.T, start startFunc, name string, args ...string) string {
	t.Helper()
	got := runOn(t, start, name, args...)
	if got.status != 0 {
		t.Fatalf("%s %s ended with status %d: %s", name, strings.Join(args, " "), got.status, got.stderr)
	}
	return got.stdout
}

// wg runs wg, which finds interfaces by their sockets, wherever they are.
func wg(t *testing.T, args ...string) string {
	t.Helper()
	return mustRunOn(t, (*exec.Cmd).Start, "wg", args...)
}

// wgPeer is what wg says of the only peer of an interface.
type wgPeer struct {
	public, endpoint string
	handshake        int64 // seconds since 1970, 0: never
	received, sent   int64
	keepalive        int
}

func wgPeerOf(t *testing.T, iface string) wgPeer {
	t.Helper()
	rows := strings.Split(strings.TrimSpace(wg(t, "show", iface, "dump")), "\n")
	if len(rows) != 2 {
		t.Fatalf("wg show %s dump: %d rows, want the interface and one peer", iface, len(rows))
	}
	cells := strings.Split(rows[1], "\t")
	if len(cells) != 8 {
		t.Fatalf("wg show %s dump: %d cells", iface, len(cells))
	}
	number := func(i int) int64 {
		n, err := strconv.ParseInt(cells[i], 10, 64)
		if err != nil && cells[i] != "off" {
			t.Fatalf("wg show %s dump: %v", iface, err)
		}
		return n
	}
	return wgPeer{cells[0], cells[2], number(4), number(5), number(6), int(number(7))}
}

// debian is an interface of Debian's wireguard-go on one side of a lab.
type debian struct {
	*program
	start startFunc
	iface string
}

// startDebian runs wireguard-go and does with a file what wg-quick does, but for
// routes: the peers are in the interface's own networks.
func startDebian(t *testing.T, start startFunc, config string) *debian {
	t.Helper()
	return startDebianAs(t, start, newInterface(), config)
}

// startDebianAs is startDebian with a name that was used before.
func startDebianAs(t *testing.T, start startFunc, iface, config string) *debian {
	t.Helper()
	d := &debian{start: start, iface: iface}
	socket := filepath.Join("/var/run/wireguard", iface+".sock")
	t.Cleanup(func() { _ = os.Remove(socket) }) // after its end; most often it is gone
	d.program = startProgram(t, start, "wireguard-go", "--foreground", iface)
	poll(t, "an answer of "+iface, func() bool { return exec.Command("wg", "show", iface).Run() == nil })

	var stripped []string
	for _, line := range strings.Split(config, "\n") {
		key, value, _ := strings.Cut(line, " = ")
		if key != "Address" {
			stripped = append(stripped, line)
			continue
		}
		for _, address := range strings.Split(value, ", ") {
			words := []string{"address", "add", address, "dev", iface}
			if strings.Contains(address, ":") {
				words = append(words, "nodad")
			}
			mustRunOn(t, start, "ip", words...)
		}
	}
	file := secretFile(t, strings.Join(stripped, "\n"))
	// It sends when it is switched on.
	mustRunOn(t, start, "wg", "setconf", iface, file)
	mustRunOn(t, start, "ip", "link", "set", iface, "up")
	return d
}

// restart ends wireguard-go and starts another one with a file in its place.
func (d *debian) restart(config string) {
	d.t.Helper()
	d.end(syscall.SIGTERM)
	*d = *startDebianAs(d.t, d.start, d.iface, config)
}

// roam helps an interface after its machine moved. This wireguard-go goes on
// sending from the address that it had, where that is IPv4, until a handshake of
// its own falls due: 15 s after data that nothing came back for, and with nothing
// but keepalives when the session ends, after 180 s. The kernel says ENETUNREACH
// to it, and it has ears for EINVAL only. To name the endpoint anew is what helps;
// WireGuard in the kernel needs no such help.
func (d *debian) roam(e ends) {
	d.t.Helper()
	wg(d.t, "set", d.iface, "peer", e.server.public, "endpoint", e.endpoint)
}

// secretFile writes what only its owner may read.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// poll waits for what must come.
func poll(t *testing.T, what string, came func() bool) {
	t.Helper()
	for end := time.Now().Add(tunnelPatience); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		if came() {
			return
		}
	}
	t.Fatalf("%s: not within %v", what, tunnelPatience)
}

// knockers are for IPv4 and IPv6 in a tunnel.
type knockers [2]*knocker

func newKnockers(t *testing.T, lab *natlab.Lab) knockers {
	t.Helper()
	return knockers{newKnocker(t, lab, serverInside.ip4, clientInside.ip4), newKnocker(t, lab, serverInside.ip6, clientInside.ip6)}
}

// must knocks with each, and each must be heard: at the second time where the first
// packet was lost, as one may be while paths and sessions change.
func (k knockers) must(when string) {
	k[0].t.Helper()
	for i, family := range []string{"IPv4", "IPv6"} {
		if !k[i].heard(2 * knockPatience) {
			k[i].t.Errorf("%s: the server doesn't reach the client by %s inside", when, family)
		}
	}
}

// greeter sends from the client to the server, so that the client's WireGuard has
// data to send.
func greeter(t *testing.T, lab *natlab.Lab) func() {
	t.Helper()
	conn, err := lab.ClientListen(t.Context(), "udp", netip.AddrPortFrom(clientInside.ip4, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(serverInside.ip4, 9))
	return func() { _, _ = conn.WriteTo([]byte("hello"), to) } // the tunnel may be down
}
