//go:build linux

package main_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// TestKernelTunnelKilled: a tunnel whose process was killed is cleaned up by
// down, comes up again under its name, and has its interval at once.
func TestKernelTunnelKilled(t *testing.T) {
	needTunnels(t)
	n, _, client, file := tunnelPair(t, "PersistentKeepalive = auto")
	want := client.await("the interval is set", isSet).path().IntervalS
	client.end(syscall.SIGKILL)

	out, complaint, code := runCommand(t, "status", "--run-dir", client.runDir)
	if code != 0 || out != "" || !strings.Contains(complaint, "natprobe down "+client.iface) {
		t.Errorf("status after a kill: status %d, %q, %q", code, out, complaint)
	}
	down := startProgram(t, n.StartClient, testProgram(t), "down", "--run-dir", client.runDir, client.iface)
	<-down.done
	if code := down.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(down.output(), "cleaned up") {
		t.Errorf("down after a kill: status %d, %q", code, down.output())
	}
	if _, complaint, _ := runCommand(t, "status", "--run-dir", client.runDir); strings.Contains(complaint, client.iface) {
		t.Errorf("status after down: %q", complaint)
	}
	if left, err := filepath.Glob(filepath.Join(client.runDir, "*.json")); err != nil || len(left) > 0 && strings.Contains(left[0], client.iface) {
		t.Errorf("down left %v, %v", left, err)
	}

	again := startTunnelAs(t, n.StartClient, client.iface, client.runDir, client.runDir, file)
	got := again.await("it is up again", func(s status) bool { return s.Tuner != nil && len(s.Tuner.Changes) > 0 })
	if first := got.Tuner.Changes[0]; first.IntervalS != want || !strings.Contains(first.Reason, "remembered") {
		t.Errorf("first set after the restart: %d s, %s; want %d s as before", first.IntervalS, first.Reason, want)
	}
	// Killed once more: up cleans up by itself.
	again.end(syscall.SIGKILL)
	third := startTunnelAs(t, n.StartClient, client.iface, client.runDir, client.runDir, file)
	third.await("it is up for the third time", isSet)
	if !newKnocker(t, n.Lab, insideServer, insideClient).heard(tunnelPatience) {
		t.Error("the server doesn't reach the client any more")
	}
}

// TestKernelTunnelTwice: a name that is up is refused, and left alone.
func TestKernelTunnelTwice(t *testing.T) {
	needTunnels(t)
	n, _, client, file := tunnelPair(t, "")
	client.await("the client is up", func(status) bool { return true })
	second := startTunnelAs(t, n.StartClient, client.iface, client.runDir, client.runDir, file)
	<-second.done
	if code := second.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(second.output(), "up already") {
		t.Errorf("a second up: status %d, %q", code, second.output())
	}
	if _, ok := client.status(); !ok {
		t.Error("the first one doesn't answer any more")
	}
	if _, said, code := runCommand(t, "down", "--run-dir", client.runDir, "nobody"); code != 1 || !strings.Contains(said, "no tunnel nobody") {
		t.Errorf("down of what isn't up: status %d, %q", code, said)
	}
	if _, said, code := runCommand(t, "down", "--run-dir", client.runDir, client.iface); code != 0 {
		t.Errorf("down: status %d, %q", code, said)
	}
	select {
	case <-client.done:
	case <-time.After(tunnelPatience):
		t.Error("the process goes on after down")
	}
	if code := client.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("after down the process ended with status %d:\n%s", code, client.output())
	}
}

// TestKernelTunnelFaults: the NAT reboots, the peer restarts, the machine stands
// still, in the middle of a measurement: the interval is right in the end, never
// above what is right, and the tunnel works.
func TestKernelTunnelFaults(t *testing.T) {
	needTunnels(t)
	for _, fault := range []struct {
		name string
		do   func(t *testing.T, n *kernelNet, server, client *side)
	}{
		{"NAT reboot", func(t *testing.T, n *kernelNet, _, _ *side) {
			if err := n.FlushConntrack(0); err != nil {
				t.Error(err)
			}
		}},
		{"link down for 5 s", func(t *testing.T, n *kernelNet, _, _ *side) {
			if err := n.SetLink(false); err != nil {
				t.Error(err)
			}
			<-time.After(5 * time.Second) // the outage itself
			if err := n.SetLink(true); err != nil {
				t.Error(err)
			}
		}},
		{"program stopped for 8 s", func(_ *testing.T, _ *kernelNet, _, client *side) {
			_ = client.cmd.Process.Signal(syscall.SIGSTOP)
			<-time.After(8 * time.Second) // as a machine that sleeps, but for its clock
			_ = client.cmd.Process.Signal(syscall.SIGCONT)
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			n, server, client, _ := tunnelPair(t, "PersistentKeepalive = auto")
			client.await("it is measuring", func(s status) bool { return s.path().Phase == tuner.PhaseMeasuring })
			<-time.After(7 * time.Second) // into the middle of the measurement
			fault.do(t, n, server, client)
			p := client.await("the interval is set", isSet).path()
			checkRule(t, p, n.Spec().Truth())
			if !newKnocker(t, n.Lab, insideServer, insideClient).heard(tunnelPatience) {
				t.Error("the server doesn't reach the client")
			}
			for _, change := range client.await("its status", isSet).Tuner.Changes[1:] {
				if change.IntervalS > 5 && !strings.Contains(change.Reason, "safe start") {
					t.Errorf("%d s was set: %s", change.IntervalS, change.Reason)
				}
			}
		})
	}
}

// TestKernelTunnelPeerRestarts: the peer comes back on the same port with
// another life of its reflector, in the middle of a measurement. The peer has
// forgotten the client, and that is for WireGuard to notice: 15 s after the client
// sent data in vain, or with the next handshake (120 s).
func TestKernelTunnelPeerRestarts(t *testing.T) {
	needTunnels(t)
	n := startKernelNet(t, roaming())
	serverFile, clientFile := tunnelFiles(t, n.ServerAddr(), "PersistentKeepalive = auto")
	server := startTunnel(t, n.StartServer, serverFile)
	server.await("the server is up", func(status) bool { return true })
	client := startTunnel(t, n.StartClient, clientFile)
	client.await("it is measuring", func(s status) bool { return s.path().Phase == tuner.PhaseMeasuring })
	<-time.After(5 * time.Second) // into the middle of the measurement
	server.end(syscall.SIGTERM)
	server = startTunnel(t, n.StartServer, serverFile)
	server.await("the server is up again", func(status) bool { return true })
	checkRule(t, client.await("the interval is set", isSet).path(), n.Spec().Truth())
	hello(t, n)
	if !newKnocker(t, n.Lab, insideServer, insideClient).heard(tunnelPatience) {
		t.Error("the server doesn't reach the client")
	}
}

// TestKernelTunnelNoReflector: where nobody answers, the safe start stays, and
// status says why.
func TestKernelTunnelNoReflector(t *testing.T) {
	needTunnels(t)
	n := startKernelNet(t, roaming())
	serverFile, clientFile := tunnelFiles(t, n.ServerAddr(), "PersistentKeepalive = auto")
	server := startTunnel(t, n.StartServer, serverFile, "--no-reflect")
	server.await("the server is up", func(status) bool { return true })
	client := startTunnel(t, n.StartClient, clientFile)
	p := client.await("it says what is wrong", func(s status) bool { return s.path().Trouble != "" }).path()
	if p.IntervalS != tuner.SafeStart || !strings.Contains(p.Trouble, "--reflector") || p.Next != "measure" {
		t.Errorf("the status is %+v", p)
	}
	if !newKnocker(t, n.Lab, insideServer, insideClient).heard(tunnelPatience) {
		t.Error("the server doesn't reach the client")
	}
}

// TestKernelTunnelReadOnly: without a folder to remember in, the process itself
// does.
func TestKernelTunnelReadOnly(t *testing.T) {
	needTunnels(t)
	n := startKernelNet(t, roaming())
	serverFile, clientFile := tunnelFiles(t, n.ServerAddr(), "PersistentKeepalive = 5 # natprobe: auto")
	server := startTunnel(t, n.StartServer, serverFile)
	server.await("the server is up", func(status) bool { return true })
	// A file where the folder would be stops root, too.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	client := startTunnelAs(t, n.StartClient, newInterface(), t.TempDir(), filepath.Join(file, "state"), clientFile)
	got := client.await("the interval is set", isSet)
	if first := got.Tuner.Changes[0]; first.IntervalS != 5 {
		t.Errorf("it began with %d s, want the file's 5", first.IntervalS)
	}
	if !strings.Contains(client.output(), "forgotten") {
		t.Error("nothing is said of what can't be kept")
	}
	want := got.path().IntervalS
	if err := n.Move(1); err != nil {
		t.Fatal(err)
	}
	client.await("it noticed the move", func(s status) bool { return strings.Contains(s.path().Network, "192.168.2.1") })
	if err := n.Move(0); err != nil {
		t.Fatal(err)
	}
	got = client.await("it is back", func(s status) bool { return strings.Contains(s.path().Network, "192.168.1.1") })
	if p := got.path(); p.IntervalS != want || !strings.Contains(p.Why, "remembered") {
		t.Errorf("back at home it has %d s, %s; want %d s", p.IntervalS, p.Why, want)
	}
}

// TestKernelTunnelNumber: a number in the file is the user's, unless --override.
func TestKernelTunnelNumber(t *testing.T) {
	needTunnels(t)
	_, server, client, _ := tunnelPair(t, "PersistentKeepalive = 7")
	server.await("the handshake", func(s status) bool { return len(s.Peers) == 1 && s.Peers[0].Received > 0 })
	if got, ok := client.status(); !ok || got.Tuner != nil || got.Peers[0].KeepaliveS != 7 {
		t.Errorf("the status is %+v", got)
	}
	_, _, overridden, _ := tunnelPair(t, "PersistentKeepalive = 7", "--override")
	if got := overridden.await("it is set", isSet).path().IntervalS; got == 7 {
		t.Error("--override left the file's 7 s")
	}
}

// TestKernelTunnelDaemon: --daemon returns once the tunnel is up, or says why it
// isn't.
func TestKernelTunnelDaemon(t *testing.T) {
	needTunnels(t)
	n := startKernelNet(t, roaming())
	serverFile, _ := tunnelFiles(t, n.ServerAddr(), "")
	s := startTunnel(t, n.StartServer, serverFile, "--daemon")
	<-s.done
	if code := s.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(s.output(), "is up, in process") {
		t.Fatalf("status %d, %q", code, s.output())
	}
	if _, ok := s.status(); !ok {
		t.Error("the tunnel doesn't answer")
	}
	again := startTunnelAs(t, n.StartServer, s.iface, s.runDir, s.runDir, serverFile, "--daemon=1")
	<-again.done
	if code := again.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(again.output(), "up already") {
		t.Errorf("a second one: status %d, %q", code, again.output())
	}
	if _, said, code := runCommand(t, "down", "--run-dir", s.runDir, s.iface); code != 0 {
		t.Errorf("down: status %d, %q", code, said)
	}
}

// TestKernelTunnelUntunedMoves: a tunnel whose interval is the user's follows the
// machine to another network all the same.
func TestKernelTunnelUntunedMoves(t *testing.T) {
	needTunnels(t)
	n, _, client, _ := tunnelPair(t, "PersistentKeepalive = 2", "--verbose")
	client.await("the client is up", func(status) bool { return true })
	k := newKnocker(t, n.Lab, insideServer, insideClient)
	if !k.heard(tunnelPatience) {
		t.Fatal("the server doesn't reach the client")
	}
	// On many kernels wireguard-go knows no source addresses to forget, so the
	// traffic alone would not tell; see tunnel.TestRehome.
	const anew = "UAPI: Updating endpoint"
	before := strings.Count(client.output(), anew)
	if err := n.Move(1); err != nil {
		t.Fatal(err)
	}
	client.await("the endpoint is set anew", func(status) bool { return strings.Count(client.output(), anew) > before })
	if !k.heard(tunnelPatience) {
		t.Error("after the move the server doesn't reach the client")
	}
}

// TestKernelTunnelDownFails: down tells what could not be undone.
func TestKernelTunnelDownFails(t *testing.T) {
	needTunnels(t)
	n := startKernelNet(t, roaming())
	serverFile, _ := tunnelFiles(t, n.ServerAddr(), "")
	file := strings.Replace(serverFile, "ListenPort", "PreDown = exit 7\nListenPort", 1)
	server := startTunnel(t, n.StartServer, file)
	server.await("it is up", func(status) bool { return true })
	if _, said, code := runCommand(t, "down", "--run-dir", server.runDir, server.iface); code != 1 || !strings.Contains(said, "PreDown") {
		t.Errorf("down: status %d, %q", code, said)
	}
	<-server.done
	if code := server.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("the process ended with status %d", code)
	}
}

// TestKernelTunnelFlood: the port of a tunnel answers who has its seal, and is as
// silent as WireGuard to everybody else, and flooded by them goes on to.
func TestKernelTunnelFlood(t *testing.T) {
	needTunnels(t)
	n := startKernelNet(t, roaming())
	server, client := newKeys(t), newKeys(t)
	config := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v/24\nListenPort = 51820\n[Peer]\nPublicKey = %s\nAllowedIPs = %v/32\n",
		server.private, insideServer, client.public, insideClient)
	startTunnel(t, n.StartServer, config).await("it is up", func(status) bool { return true })
	conn, err := n.ClientListen(t.Context(), "udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := addrOf(n.ServerAddr(), 51820)
	request := func() []byte {
		m := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
		_, _ = rand.Read(m[8:])
		return m
	}
	seal := func(k keyPair) *wire.Seal {
		key, err := vpn.ParsePublicKey(k.public)
		if err != nil {
			t.Fatal(err)
		}
		return wire.NewSeal(key)
	}
	for range 2000 {
		for _, strange := range [][]byte{request(), seal(client).Close(request()), make([]byte, 40), request()[:19]} {
			if _, err := conn.WriteTo(strange, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What is known to be answered comes last; what comes back must be for it.
	known := request()
	buffer := make([]byte, 2048)
	for end := time.Now().Add(tunnelPatience); time.Now().Before(end); {
		if _, err := conn.WriteTo(seal(server).Close(known), to); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		size, _, err := conn.ReadFrom(buffer)
		if err != nil {
			continue // the flood may have filled what leads there
		}
		if size < 20 || string(buffer[8:20]) != string(known[8:]) {
			t.Fatalf("a stranger got %d bytes", size)
		}
		return
	}
	t.Error("who has the seal gets no answer")
}
