package main_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
)

var (
	benchTunnel  = flag.Bool("bench-tunnel", false, "measure the throughput of a tunnel beside plain wireguard-go's")
	tunnelRounds = flag.Int("bench-rounds", 8, "how often each tunnel is measured by -bench-tunnel")
)

// transferSeconds is how long one transfer takes.
const transferSeconds = 5

// TestBenchTunnel compares the throughput of natprobe's tunnel, which shares its
// port with a reflector, with that of plain wireguard-go of the same version. The
// two take turns in one network, and change who goes first.
func TestBenchTunnel(t *testing.T) {
	if !*benchTunnel {
		t.Skip("SKIPPED: it needs a quiet machine for minutes; make bench-tunnel runs it")
	}
	needTunnels(t, "iperf3", "wg", "ip")
	n := startKernelNet(t, natlab.Spec{})
	ours := benchOurs(t, n)
	plain := benchPlain(t, n)
	rates := make(map[string][]float64)
	for round := range *tunnelRounds {
		order := []struct {
			name string
			to   netip.Addr
		}{{"natprobe", ours}, {"wireguard-go", plain}}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, one := range order {
			rate := transfer(t, n, one.to)
			rates[one.name] = append(rates[one.name], rate)
			t.Logf("round %d: %-12s %7.1f Mbit/s", round+1, one.name, rate)
		}
	}
	middle := func(name string) float64 {
		sorted := slices.Sorted(slices.Values(rates[name]))
		return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	}
	var ratios []float64
	for i, rate := range rates["natprobe"] {
		ratios = append(ratios, rate/rates["wireguard-go"][i])
	}
	slices.Sort(ratios)
	fmt.Printf("\n| tunnel | median | lowest | highest |\n|---|--:|--:|--:|\n")
	for _, name := range []string{"natprobe", "wireguard-go"} {
		fmt.Printf("| %s | %.0f Mbit/s | %.0f | %.0f |\n", name, middle(name), slices.Min(rates[name]), slices.Max(rates[name]))
	}
	fmt.Printf("\nratio of the medians %.3f; of the rounds, from %.3f to %.3f, median %.3f\n", middle("natprobe")/middle("wireguard-go"),
		ratios[0], ratios[len(ratios)-1], (ratios[(len(ratios)-1)/2]+ratios[len(ratios)/2])/2)
}

// benchOurs brings up natprobe's tunnels and returns the server inside.
func benchOurs(t *testing.T, n *kernelNet) netip.Addr {
	t.Helper()
	serverFile, clientFile := tunnelFiles(t, n.ServerAddr(), "")
	startTunnel(t, n.StartServer, serverFile).await("the server is up", func(status) bool { return true })
	startTunnel(t, n.StartClient, clientFile).await("the client is up", func(status) bool { return true })
	return insideServer
}

// benchPlain brings up wireguard-go's, built from the module that natprobe uses.
func benchPlain(t *testing.T, n *kernelNet) netip.Addr {
	t.Helper()
	program := filepath.Join(t.TempDir(), "wireguard-go")
	build := goBuild("-trimpath", "-ldflags", "-s -w", "-o", program, "golang.zx2c4.com/wireguard")
	build.Env = append(build.Env, "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("wireguard-go can't be built: %v\n%s", err, out)
	}
	const port = 51821
	server, client := netip.MustParseAddr("10.78.0.1"), netip.MustParseAddr("10.78.0.2")
	s, c := newKeys(t), newKeys(t)
	side := func(start func(*exec.Cmd) error, own netip.Addr, config string) {
		name := newInterface()
		startProgram(t, start, program, "--foreground", name)
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		socket := filepath.Join("/var/run/wireguard", name+".sock")
		for end := time.Now().Add(tunnelPatience); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
			if _, err := os.Stat(socket); err == nil {
				break
			}
		}
		for _, command := range [][]string{
			{"wg", "setconf", name, file}, {"ip", "address", "add", own.String() + "/24", "dev", name},
			{"ip", "link", "set", name, "mtu", "1420", "up"},
		} {
			p := startProgram(t, start, command[0], command[1:]...)
			if <-p.done; !p.cmd.ProcessState.Success() {
				t.Fatalf("%s: %s", strings.Join(command, " "), p.output())
			}
		}
	}
	side(n.StartServer, server, fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = %d\n[Peer]\nPublicKey = %s\nAllowedIPs = %v/32\n",
		s.private, port, c.public, client))
	side(n.StartClient, client, fmt.Sprintf("[Interface]\nPrivateKey = %s\n[Peer]\nPublicKey = %s\nAllowedIPs = %v/32\nEndpoint = %v\n",
		c.private, s.public, server, netip.AddrPortFrom(n.ServerAddr(), port)))
	return server
}

// transfer sends TCP from the client for a while and returns what arrived, in
// Mbit/s.
func transfer(t *testing.T, n *kernelNet, to netip.Addr) float64 {
	t.Helper()
	return transferFor(t, n.StartClient, n.StartServer, to, transferSeconds)
}

// transferFor is transfer between any two sides, for so many seconds.
func transferFor(t *testing.T, from, at func(*exec.Cmd) error, to netip.Addr, seconds int) float64 {
	t.Helper()
	server := startProgram(t, at, "iperf3", "--server", "--one-off", "--bind", to.String())
	var result struct {
		Error string
		End   struct {
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	for end := time.Now().Add(tunnelPatience); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
		client := startProgram(t, from, "iperf3", "--client", to.String(), "--time", fmt.Sprint(seconds), "--json")
		<-client.done
		result.Error = ""
		if err := json.Unmarshal([]byte(client.output()), &result); err != nil {
			t.Fatalf("iperf3: %v\n%s", err, client.output())
		}
		if result.Error == "" {
			<-server.done
			return result.End.SumReceived.BitsPerSecond / 1e6
		}
	}
	t.Fatalf("iperf3: %s", result.Error)
	return 0
}
