package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// The bench of the reflector: make bench-reflector.
const (
	benchRounds  = 7
	benchSeconds = "1"
	// benchReady bounds the start of a server.
	benchReady = 20 * time.Second
)

// benchLoads are what the servers are asked: as much as one answers, and a rate
// that none of them is busy with.
var benchLoads = []struct{ name, rate string }{{"all it can do", "0"}, {"50,000/s", "50000"}, {"5,000/s", "5000"}}

// benchServer is a program that answers on loopback.
type benchServer struct {
	name string
	port int
	pid  int
	ns   map[string][]float64 // CPU nanoseconds a request, by load
	rate map[string][]float64 // requests a second
}

// BenchmarkReflector compares the CPU time that a plain STUN request costs the
// reflector with what it costs a C program that only echoes, and coturn. They
// take turns in one run. It prints medians as a table in Markdown.
func BenchmarkReflector(b *testing.B) {
	dir := b.TempDir()
	buildBench(b, dir, "echo", "load")
	natprobe := filepath.Join(dir, "natprobe")
	if output, err := goBuild("-o", natprobe, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, output)
	}
	ports := freePorts(b, 3)
	at := func(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i])) }
	servers := []*benchServer{
		// A limit that isn't met, rather than none: its meter is at work.
		startBench(b, "natprobe", ports[0], exec.Command(natprobe, "reflector", "--listen", at(0), "--limit-pps", "1000000")),
		startBench(b, "C echo", ports[1], exec.Command(filepath.Join(dir, "echo"), strconv.Itoa(ports[1]))),
	}
	if coturn, err := exec.LookPath("turnserver"); err == nil {
		servers = append(servers, startBench(b, "coturn", ports[2], exec.Command(coturn, "-n", "--no-cli", "--no-tls", "--no-dtls", "-S",
			"-L", "127.0.0.1", "-p", strconv.Itoa(ports[2]), "--no-stdout-log", "--log-file", os.DevNull, "--pidfile", filepath.Join(dir, "pid"))))
	} else {
		b.Log("without coturn (Debian: apt-get install coturn)")
	}
	for b.Loop() {
		for range benchRounds {
			for _, load := range benchLoads {
				for _, s := range servers {
					s.measure(b, filepath.Join(dir, "load"), load.rate)
				}
			}
		}
	}
	// Not a log, which the testing package cuts short.
	fmt.Printf("\nmedians of %d rounds\n\n%s\n", benchRounds, benchTable(b, servers))
}

// buildBench compiles C programs of the bench, or skips it.
func buildBench(b *testing.B, dir string, names ...string) {
	b.Helper()
	for _, name := range names {
		source := filepath.Join("..", "..", "reflector", "bench", name+".c")
		if output, err := exec.Command("gcc", "-O2", "-Wall", "-o", filepath.Join(dir, name), source).CombinedOutput(); err != nil {
			b.Skipf("SKIPPED, the bench needs gcc: %v\n%s", err, output)
		}
	}
}

// startBench runs a server until the bench ends.
func startBench(b *testing.B, name string, port int, cmd *exec.Cmd) *benchServer {
	b.Helper()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	conn, err := net.Dial("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for deadline := time.Now().Add(benchReady); ; {
		_, _ = conn.Write(wire.Binding{ID: wire.NewID()}.Encode()) // refused until it listens
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 2048)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("%v doesn't answer", cmd)
		}
	}
	return &benchServer{name: name, port: port, pid: cmd.Process.Pid, ns: make(map[string][]float64), rate: make(map[string][]float64)}
}

// measure loads the server for a while.
func (s *benchServer) measure(b *testing.B, program, rate string) {
	b.Helper()
	before := s.cpu(b)
	output, err := exec.Command(program, strconv.Itoa(s.port), benchSeconds, rate).Output()
	if err != nil {
		b.Fatal(err)
	}
	var sent, answered, seconds float64
	if _, err := fmt.Sscan(string(output), &sent, &answered, &seconds); err != nil || answered == 0 {
		b.Fatalf("the load generator says %q: %v", output, err)
	}
	s.ns[rate] = append(s.ns[rate], (s.cpu(b)-before)/answered)
	s.rate[rate] = append(s.rate[rate], answered/seconds)
}

// cpu returns the nanoseconds that the server's threads have run.
func (s *benchServer) cpu(b *testing.B) float64 {
	b.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.pid))
	if err != nil || len(tasks) == 0 {
		b.Fatalf("%s is gone, or this kernel tells no run times: %v", s.name, err)
	}
	total := 0.0
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has ended
		}
		ns, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
		if err != nil {
			b.Fatal(err)
		}
		total += ns
	}
	return total
}

func benchTable(b *testing.B, servers []*benchServer) string {
	var table strings.Builder
	table.WriteString("| load | server | requests/s | CPU a request, µs | natprobe's to this |\n|---|---|--:|--:|--:|\n")
	for _, load := range benchLoads {
		own := median(servers[0].ns[load.rate])
		for _, s := range servers {
			ns := median(s.ns[load.rate])
			fmt.Fprintf(&table, "| %s | %s | %.0f | %.2f | %.2f |\n", load.name, s.name, median(s.rate[load.rate]), ns/1000, own/ns)
			if load.rate == "0" {
				b.ReportMetric(own/ns, "to-"+strings.ReplaceAll(s.name, " ", "-"))
			}
		}
	}
	return table.String()
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// freePorts returns UDP ports of loopback that nobody uses now.
func freePorts(b *testing.B, n int) []int {
	b.Helper()
	var ports []int
	for range n {
		conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		ports = append(ports, conn.LocalAddr().(*net.UDPAddr).Port)
	}
	return ports
}
