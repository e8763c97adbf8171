package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// startProgramReflector runs the verb as a program on the lab's server, in place of
// the lab's reflector, and waits until it listens. What goes before the program's
// name is a command that runs it.
func (n *kernelNet) startProgramReflector(before []string, args ...string) *program {
	n.t.Helper()
	n.stopReflector()
	all := append(slices.Clone(before), testProgram(n.t), "reflector", "--listen", n.reflectorAddr().String())
	all = append(all, args...)
	p := startProgram(n.t, n.StartServer, all[0], all[1:]...)
	p.await("Listening on")
	return p
}

// await waits until a program says something.
func (p *program) await(text string) {
	p.t.Helper()
	for end := time.Now().Add(tunnelPatience); !strings.Contains(p.output(), text); {
		select {
		case <-p.done:
			p.t.Fatalf("%s has ended, and didn't say %q:\n%s", p.name, text, p.output())
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(end) {
				p.t.Fatalf("%s doesn't say %q:\n%s", p.name, text, p.output())
			}
		}
	}
}

// closed is an error where no bracket has two ends: then the measurement didn't go
// on after the fault. On a busy machine some may stay open until the budget ends.
func closed(r *results.Record) error {
	for _, l := range r.Lifetimes {
		if l.UpperS != nil || stoodStill(r) {
			return nil
		}
	}
	return errors.New("all brackets are open")
}

// TestKernelReflectorKilled kills the program with SIGKILL in the middle of a
// measurement, twice, and starts it again: the measurement tells of it, goes on,
// and is right. In one case the machine seems to have started anew each time, as
// its monotonic clock has another zero.
func TestKernelReflectorKilled(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		args   []string
		reboot bool
	}{
		{name: "new secret"},
		{name: "secret kept", args: []string{"--secret-file", secret}},
		{name: "another monotonic clock", args: []string{"--secret-file", secret}, reboot: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			spec := natlab.Spec{NATs: []natlab.NATSpec{box(4, 8)}}
			n := startKernelNet(t, spec)
			lives := 0
			start := func() *program {
				var before []string
				if test.reboot {
					before = otherClock(t, lives)
				}
				lives++
				return n.startProgramReflector(before, test.args...)
			}
			p := start()
			random := rand.New(rand.NewPCG(7, uint64(len(test.name))))
			record := n.measure(probe.Config{Max: 16 * time.Second, Budget: faultBudget}, func(ctx context.Context) {
				for range 2 {
					if !pause(ctx, time.Duration(1+random.IntN(4000))*time.Millisecond) {
						return
					}
					p.end(syscall.SIGKILL)
					pause(ctx, time.Duration(random.IntN(1000))*time.Millisecond)
					p = start()
				}
			})
			t.Logf("%d lives; %s", lives, summary(record, truthsOf(spec), 0))
			if err := errors.Join(truthsOf(spec).wrong(record), closed(record)); err != nil || lives != 3 {
				t.Errorf("%d lives, want 3; %v\n%s", lives, err, story(record))
			}
			if !slices.ContainsFunc(record.Events, func(e results.Event) bool { return e.Reason == results.ReasonRestart }) && !stoodStill(record) {
				t.Errorf("no event tells of the restarts\n%s", story(record))
			}
		})
	}
}

// otherClock returns a command that runs a program with a monotonic clock which is
// hours and more ahead, a different time for each life.
func otherClock(t *testing.T, life int) []string {
	t.Helper()
	ahead := strconv.Itoa(10_000 + 1_000_000*((7*life)%3))
	command := []string{"unshare", "--time", "--monotonic", ahead, "--boottime", ahead}
	if output, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, %s NEEDS TIME NAMESPACES: %v %s", t.Name(), err, output)
	}
	return command
}

// floodRate, in packets a second, fills the smallest buffer there is.
const floodRate = 5000

// socketFault is something that happens to a reflector's socket while a prober
// measures.
type socketFault struct {
	name   string
	listen string                   // without a port
	tune   func(*net.UDPConn) error // once, before it is served
	strike func(*testing.T, *kernelNet) func(context.Context)
	met    func(reflector.Stats) uint64 // counts what happened
}

// TestKernelReflectorSockets: sockets whose address goes away and comes back, or
// whose buffers are full, lose packets and nothing else. What a measurement says
// meanwhile is right, and it comes to its end.
func TestKernelReflectorSockets(t *testing.T) {
	t.Parallel()
	spec := natlab.Spec{NATs: []natlab.NATSpec{box(4, 8)}}
	away := func(t *testing.T, n *kernelNet) func(context.Context) {
		return func(ctx context.Context) {
			removeServerAddr(t, n, n.ServerAddr())
			pause(ctx, 2*time.Second)
			addServerAddr(t, n, n.ServerAddr())
		}
	}
	unsent := func(s reflector.Stats) uint64 { return s.CopiesFailed + s.WriteErrors }
	for _, f := range []socketFault{
		{name: "address gone, bound listener", strike: away},
		{name: "address gone, listener for all", listen: "0.0.0.0", strike: away},
		{name: "address gone, listener for both families", listen: "[::]", strike: away},
		{
			name: "receive buffer full", tune: func(c *net.UDPConn) error { return c.SetReadBuffer(1) },
			strike: func(t *testing.T, n *kernelNet) func(context.Context) {
				s := newStorm(t, n)
				return func(ctx context.Context) {
					ctx, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					s.rage(ctx, attacks()[0], floodRate)
				}
			},
			met: func(s reflector.Stats) uint64 { return s.Dropped },
		},
		{
			name: "send buffer full", tune: func(c *net.UDPConn) error { return c.SetWriteBuffer(1) },
			strike: func(t *testing.T, n *kernelNet) func(context.Context) {
				return func(context.Context) { askFromNowhere(t, n) }
			},
			met: unsent,
		},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			n := startKernelNet(t, spec)
			r, strike := n.serveOwn(f.listen, f.tune), f.strike(t, n)
			random := rand.New(rand.NewPCG(11, uint64(len(f.name))))
			struck := false
			record := n.measure(probe.Config{Max: 16 * time.Second, Budget: faultBudget}, func(ctx context.Context) {
				if struck = pause(ctx, time.Duration(1000+random.IntN(6000))*time.Millisecond); struck {
					strike(ctx)
				}
			})
			stats := r.Stats()
			t.Logf("%d dropped by the system, %d answers and %d copies not sent; %s",
				stats.Dropped, stats.WriteErrors, stats.CopiesFailed, summary(record, truthsOf(spec), 0))
			if err := errors.Join(truthsOf(spec).wrong(record), closed(record)); err != nil || !struck {
				t.Errorf("struck: %v; %v\n%s", struck, err, story(record))
			}
			if f.met != nil && f.met(stats) == 0 {
				t.Error("no counter tells what happened")
			}
		})
	}
}

// serveOwn serves a socket of reflector.Listen on the lab's server, in place of the
// lab's reflector, until the test ends.
func (n *kernelNet) serveOwn(listen string, tune func(*net.UDPConn) error) *reflector.Reflector {
	n.t.Helper()
	n.stopReflector()
	address := n.reflectorAddr().String()
	if listen != "" {
		address = listen + ":" + strconv.Itoa(labPort)
	}
	var conn net.PacketConn
	onServer(n.t, n, func() (err error) {
		for end := time.Now().Add(stunPatience); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
			if conn, err = reflector.Listen(context.Background(), address); !errors.Is(err, syscall.EADDRINUSE) {
				return err // see kernelNet.listen
			}
		}
		return err
	})
	if tune != nil {
		if err := tune(conn.(*net.UDPConn)); err != nil {
			n.t.Fatal(err)
		}
	}
	r, err := reflector.New(reflector.Config{})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, conn) }()
	n.t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, conn.Close()); err != nil {
			n.t.Error(err)
		}
	})
	return r
}

// fewFiles returns a command that runs a program with so many file descriptors.
func fewFiles(files int) []string {
	return []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, files)}
}

// TestReflectorFewFiles: without enough file descriptors the reflector doesn't start,
// and says why. Where they run out later, UDP is answered all the same, and the
// admin address again when there are some.
func TestReflectorFewFiles(t *testing.T) {
	t.Parallel()
	begin := func(files int, args ...string) *program {
		command := append(fewFiles(files), testProgram(t), "reflector")
		command = append(command, args...)
		return startProgram(t, (*exec.Cmd).Start, command[0], command[1:]...)
	}
	short := begin(16, "--listen", "127.0.0.1:0", "--sockets", "30")
	<-short.done
	if got := short.output(); short.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(got, "--listen 127.0.0.1:0: no file descriptors are left") ||
		strings.Count(got, "\n") != 1 {
		t.Errorf("with too few file descriptors: status %d and\n%s", short.cmd.ProcessState.ExitCode(), got)
	}

	tcp := freeTCP(t)
	p := begin(20, "--listen", "127.0.0.1:0", "--admin", tcp)
	p.await("Listening on")
	_, udp, _ := strings.Cut(p.output(), "Listening on ")
	udp, _, _ = strings.Cut(udp, " ")
	client, err := net.Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	answers := func() bool {
		request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		for end := time.Now().Add(stunPatience); time.Now().Before(end); {
			_, _ = client.Write(request.Raw) // it is asked again
			_ = client.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			b := make([]byte, 2048)
			size, err := client.Read(b)
			m := &stun.Message{Raw: b[:size]}
			if err == nil && m.Decode() == nil && m.TransactionID == request.TransactionID {
				return true
			}
		}
		return false
	}
	var crowd []net.Conn
	for range 100 { // the system takes them, even when the reflector can't
		conn, err := net.Dial("tcp", tcp)
		if err != nil {
			break
		}
		crowd = append(crowd, conn)
	}
	all := func() bool { return files(t, p.cmd.Process.Pid) >= 20 }
	for end := time.Now().Add(stunPatience); !all(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections, and %d file descriptors are in use, want 20", len(crowd), files(t, p.cmd.Process.Pid))
		}
	}
	if !answers() {
		t.Error("without a file descriptor left it doesn't answer")
	}
	for _, conn := range crowd {
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), tunnelPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+tcp+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("with file descriptors again: %v", err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "ok\n" {
		t.Errorf("with file descriptors again it says %q, %v", body, err)
	}
}

// TestReflectorUnitCrash: a crash ends the program otherwise than wrong flags do,
// after which systemd doesn't start it again.
func TestReflectorUnitCrash(t *testing.T) {
	t.Parallel()
	_, service, _ := strings.Cut(readReflectorUnit(t), "\n[Service]\n")
	if !strings.Contains(service, "\nRestartPreventExitStatus=2\n") {
		t.Errorf("%s starts it again and again with flags that are wrong", reflectorUnit)
	}
	if !strings.Contains(service, "\nLimitCORE=0\n") {
		t.Errorf("%s lets a crash write secrets to the disk", reflectorUnit)
	}
	start := func(command *exec.Cmd) error {
		for line := range strings.Lines(service) {
			if settings, ok := strings.CutPrefix(line, "Environment="); ok {
				command.Env = append(command.Env, strings.Fields(settings)...)
			}
		}
		return command.Start()
	}
	p := startProgram(t, start, "sh", "-c", `ulimit -c 0; exec "$0" "$@"`, testProgram(t), "reflector", "--listen", "127.0.0.1:0")
	p.await("Listening on")
	p.end(syscall.SIGQUIT) // upon which the runtime crashes
	if state := p.cmd.ProcessState; state.ExitCode() == 2 || !strings.Contains(state.String(), "aborted") {
		t.Errorf("a crash ends it with %v, want SIGABRT", state)
	}
}

// freeTCP returns an address of loopback that nothing listens on.
func freeTCP(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// askFromNowhere asks the lab's reflector from an address of its own network that
// nobody has. The answers wait for that neighbor to say where it is, in the
// socket's buffer, until the system gives up after three seconds.
func askFromNowhere(t *testing.T, n *kernelNet) {
	t.Helper()
	b := n.ServerAddr().As4()
	b[3] = 200
	forge := newForger(t, n)
	defer forge.close()
	for range 64 {
		forge.send(netip.AddrPortFrom(netip.AddrFrom4(b), 40000), wire.Check{ID: wire.NewID()}.Encode())
	}
}

// files counts a process's open file descriptors.
func files(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
