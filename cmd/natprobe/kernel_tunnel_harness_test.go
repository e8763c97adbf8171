package main_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// The tests in the files kernel_tunnel_*_test.go run natprobe itself, and
// Debian's wireguard-go, on both sides of the kernel's own NATs.

// tunnelPatience bounds waits for what takes seconds.
const tunnelPatience = 2 * time.Minute

// needTunnels skips a test where there can't be tunnels.
func needTunnels(t *testing.T, programs ...string) {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED BY -short: IT TAKES AS LONG AS REAL TIMERS")
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, TUNNELS NEED ROOT")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("SKIPPED, THIS MACHINE HAS NO TUN DEVICES: %v", err)
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED, %s IS NOT INSTALLED", program)
		}
	}
}

var interfaces atomic.Uint32

// newInterface returns a name that no other tunnel of this machine has:
// /var/run/wireguard is shared by network namespaces.
func newInterface() string {
	return fmt.Sprintf("np%d-%d", os.Getpid()%1e7, interfaces.Add(1))
}

// keyPair is one side's keys, as in files of WireGuard.
type keyPair struct{ private, public string }

func newKeys(t *testing.T) keyPair {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{base64.StdEncoding.EncodeToString(key.Bytes()), base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())}
}

// program is a program that runs on one side of a lab.
type program struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// startProgram starts a program on one side; it is ended with the test.
func startProgram(t *testing.T, start func(*exec.Cmd) error, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: name + " " + strings.Join(args, " "), cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append(os.Environ(), "NATPROBE_TEST_AS_PROGRAM=1", "NATPROBE_REFLECTOR=")
	if err := start(p.cmd); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells
		close(p.done)
	}()
	t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.output())
		}
	})
	return p
}

// end ends a program and waits for it.
func (p *program) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(tunnelPatience):
		p.t.Errorf("%s doesn't end after %v", p.name, signal)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// side is a tunnel of natprobe's on one side of a lab.
type side struct {
	*program
	iface  string
	runDir string
	begun  time.Time
}

// startTunnel starts natprobe up with a configuration.
func startTunnel(t *testing.T, start func(*exec.Cmd) error, config string, flags ...string) *side {
	t.Helper()
	dir := t.TempDir()
	return startTunnelAs(t, start, newInterface(), dir, dir, config, flags...)
}

// startTunnelAs is startTunnel with names that were used before.
func startTunnelAs(t *testing.T, start func(*exec.Cmd) error, iface, runDir, stateDir, config string, flags ...string) *side {
	t.Helper()
	file := filepath.Join(t.TempDir(), iface+".conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &side{iface: iface, runDir: runDir, begun: time.Now()}
	args := append([]string{"up", "--run-dir", runDir, "--state-dir", stateDir}, flags...)
	s.program = startProgram(t, start, testProgram(t), append(args, file)...)
	return s
}

func testProgram(t *testing.T) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// status is what natprobe status --json says, as far as tests look at it.
type status struct {
	Peers []struct {
		PublicKey     string     `json:"public_key"`
		Endpoint      string     `json:"endpoint"`
		KeepaliveS    int        `json:"keepalive_s"`
		LastHandshake *time.Time `json:"last_handshake"`
		Received      uint64     `json:"received_bytes"`
		Sent          uint64     `json:"sent_bytes"`
	} `json:"peers"`
	Tuner    *tuner.Status `json:"tuner"`
	Warnings []string      `json:"warnings"`
}

// runCommand runs natprobe to its end and returns what it prints and its status.
func runCommand(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(testProgram(t), args...)
	cmd.Env = append(os.Environ(), "NATPROBE_TEST_AS_PROGRAM=1", "NATPROBE_REFLECTOR=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// status asks a tunnel; false while it doesn't answer yet.
func (s *side) status() (status, bool) {
	s.t.Helper()
	out, _, code := runCommand(s.t, "status", "--json", "--run-dir", s.runDir, s.iface)
	var got status
	if code != 0 || json.Unmarshal([]byte(out), &got) != nil {
		return got, false
	}
	return got, true
}

// await waits until a tunnel's status is as wanted.
func (s *side) await(what string, good func(status) bool) status {
	s.t.Helper()
	var last status
	for end := time.Now().Add(tunnelPatience); time.Now().Before(end); {
		select {
		case <-s.done:
			s.t.Fatalf("%s: natprobe ended:\n%s", what, s.output())
		case <-time.After(100 * time.Millisecond):
		}
		if got, ok := s.status(); ok {
			if last = got; good(got) {
				return got
			}
		}
	}
	s.t.Fatalf("%s: not within %v; the last status is %+v", what, tunnelPatience, last)
	return last
}

// path returns the first path of a status.
func (s status) path() tuner.PathStatus {
	if s.Tuner == nil || len(s.Tuner.Paths) == 0 {
		return tuner.PathStatus{}
	}
	return s.Tuner.Paths[0]
}

// knocker sends packets through a tunnel from the server and hears whether the
// client's echo comes back.
type knocker struct {
	t      *testing.T
	server net.PacketConn
	client net.Addr
	number int
}

// knockPatience is for echoes on a busy machine.
const knockPatience = 5 * time.Second

// echoPort is where the client answers inside the tunnel.
const echoPort = 7

// newKnocker opens the client's echo and the server's socket, on addresses that
// the tunnels must have already.
func newKnocker(t *testing.T, lab *natlab.Lab, server, client netip.Addr) *knocker {
	t.Helper()
	echo, err := lab.ClientListen(t.Context(), "udp", netip.AddrPortFrom(client, echoPort).String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := echo.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(buffer[:n], from) // the network may be down
		}
	}()
	k := &knocker{t: t, client: net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, echoPort))}
	if k.server, err = lab.ServerListen(t.Context(), "udp", netip.AddrPortFrom(server, 0).String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = echo.Close()
		_ = k.server.Close()
	})
	return k
}

// knock tells whether one packet reaches the client and its echo comes back. It
// is sent once: a mapping that comes back to life later doesn't help it.
func (k *knocker) knock() bool {
	k.t.Helper()
	k.number++
	want := fmt.Sprintf("knock %d", k.number)
	if _, err := k.server.WriteTo([]byte(want), k.client); err != nil {
		return false
	}
	if err := k.server.SetReadDeadline(time.Now().Add(knockPatience)); err != nil {
		k.t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	for {
		n, _, err := k.server.ReadFrom(buffer)
		if err != nil {
			return false
		}
		if string(buffer[:n]) == want {
			return true
		}
	}
}

// addrOf returns a UDP address.
func addrOf(addr netip.Addr, port uint16) net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port))
}

// tunnelPair starts a server and a client of it behind the NATs of roaming,
// with flags for the client.
func tunnelPair(t *testing.T, keepalive string, flags ...string) (n *kernelNet, server, client *side, clientFile string) {
	t.Helper()
	n = startKernelNet(t, roaming())
	serverFile, clientFile := tunnelFiles(t, n.ServerAddr(), keepalive)
	server = startTunnel(t, n.StartServer, serverFile)
	server.await("the server is up", func(status) bool { return true })
	return n, server, startTunnel(t, n.StartClient, clientFile, flags...), clientFile
}

// heard knocks until the client answers, for at most some time.
func (k *knocker) heard(within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); {
		if k.knock() {
			return true
		}
	}
	return false
}
