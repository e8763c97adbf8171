package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

	"golang.zx2c4.com/wireguard/conn"

	"github.com/natprobe/natprobe/vpn"
)

// The code under test uses many threads, and each must be in the namespace: it
// runs in a process of its own that was started there, this test binary again.

const childEnv = "NATPROBE_TUNNEL_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(runChild())
	}
	os.Exit(m.Run())
}

// order is what a test wants the child to do.
type order struct {
	Op string // up, down, peers, keepalive, rehome, done, cleanup

	File, RunDir, ResolvConf, DNS string
	Path                          string // instead of PATH
	WrapBind                      bool   // for rehome
	// Hosts are the names that can be resolved.
	Hosts map[string]string

	Peer    string
	Seconds uint16
	Name    string
}

// answer is what came of it.
type answer struct {
	Error   string
	Running bool // the error wraps ErrRunning
	Mark    uint32
	Cleaned bool
	Peers   []peerView
	// Endpoints is how many Rehome set.
	Endpoints int
}

// peerView is a vpn.PeerState on its way between processes.
type peerView struct {
	Key                      string
	Endpoint                 netip.AddrPort
	Keepalive                time.Duration
	LastHandshake            time.Time
	ReceivedBytes, SentBytes uint64
}

func runChild() int {
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	c := child{}
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return 0
			}
			fmt.Fprintln(os.Stderr, "order not understood:", err)
			return 1
		}
		a, err := c.obey(o)
		if err != nil {
			a.Error, a.Running = err.Error(), errors.Is(err, ErrRunning)
		}
		if err := out.Encode(a); err != nil {
			return 1
		}
	}
}

// wrappedBind is a bind that the device doesn't know, and watches no routes for.
// It counts the endpoints that are made.
type wrappedBind struct {
	conn.Bind
	endpoints atomic.Int32
}

func (b *wrappedBind) ParseEndpoint(text string) (conn.Endpoint, error) {
	b.endpoints.Add(1)
	return b.Bind.ParseEndpoint(text)
}

type child struct {
	bind   *wrappedBind
	tunnel *Tunnel
	hosts  map[string]string
}

func (c *child) obey(o order) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if o.Hosts != nil {
		c.hosts = o.Hosts
	}
	switch o.Op {
	case "up":
		config, err := vpn.ParseFile(o.File)
		if err != nil {
			return answer{}, err
		}
		logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		options := Options{Config: config, Logger: logger, RunDir: o.RunDir}
		if o.WrapBind {
			c.bind = &wrappedBind{Bind: conn.NewDefaultBind()}
			options.Bind = c.bind
		}
		if o.Path != "" {
			if err := os.Setenv("PATH", o.Path); err != nil {
				return answer{}, err
			}
		}
		t, err := up(ctx, options,
			system{resolvConf: o.ResolvConf, dns: o.DNS, lookup: c.lookup})
		if err != nil {
			return answer{}, err
		}
		c.tunnel = t
		return answer{Mark: t.Mark()}, nil
	case "down":
		return answer{}, c.tunnel.Down(ctx)
	case "peers":
		var a answer
		peers, err := c.tunnel.Peers()
		for _, p := range peers {
			a.Peers = append(a.Peers, peerView{p.PublicKey.String(), p.Endpoint, p.Keepalive, p.LastHandshake, p.ReceivedBytes, p.SentBytes})
		}
		return a, err
	case "keepalive":
		key, err := vpn.ParsePublicKey(o.Peer)
		if err != nil {
			return answer{}, err
		}
		return answer{}, c.tunnel.SetKeepalive(ctx, key, o.Seconds)
	case "rehome":
		before := c.bind.endpoints.Load()
		err := c.tunnel.Rehome(ctx)
		return answer{Endpoints: int(c.bind.endpoints.Load() - before)}, err
	case "done":
		select {
		case <-c.tunnel.Done():
			return answer{}, nil
		case <-ctx.Done():
			return answer{}, errors.New("the tunnel didn't end")
		}
	case "cleanup":
		cleaned, err := CleanUp(ctx, o.RunDir, o.Name)
		return answer{Cleaned: cleaned}, err
	}
	return answer{}, fmt.Errorf("no such order: %s", o.Op)
}

func (c *child) lookup(_ context.Context, _, host string) ([]netip.Addr, error) {
	a, err := netip.ParseAddr(c.hosts[host])
	if err != nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{a}, nil
}

// program is a child as its test sees it.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
	log *buffer
	// ended is closed when the process is gone.
	ended chan struct{}
}

// buffer is written by a process and read by its test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startChild starts the program inside a namespace. before are run on the thread
// that starts it, which ends then, and whose rights the program inherits.
func (s *space) startChild(before ...func() error) *program {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	p := &program{t: s.t, cmd: cmd, log: &buffer{}, ended: make(chan struct{})}
	cmd.Stderr = p.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	err = s.do(func() error {
		for _, f := range before {
			if err := f(); err != nil {
				return err
			}
		}
		return cmd.Start()
	})
	if err != nil {
		s.t.Fatal(err)
	}
	p.in, p.out = json.NewEncoder(stdin), json.NewDecoder(stdout)
	s.t.Cleanup(func() {
		_ = stdin.Close()
		p.kill()
		if s.t.Failed() {
			s.t.Logf("what the child said:\n%s", p.log)
		}
	})
	return p
}

// kill ends the process at once, as kill -9 does.
func (p *program) kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	close(p.ended)
}

// tell gives an order and returns what came of it.
func (p *program) tell(o order) answer {
	p.t.Helper()
	if err := p.in.Encode(o); err != nil {
		p.t.Fatalf("the child takes no order: %v\n%s", err, p.log)
	}
	var a answer
	if err := p.out.Decode(&a); err != nil {
		p.t.Fatalf("the child doesn't answer to %s: %v\n%s", o.Op, err, p.log)
	}
	return a
}

// must is tell for what has to work.
func (p *program) must(o order) answer {
	p.t.Helper()
	a := p.tell(o)
	if a.Error != "" {
		p.t.Fatalf("%s: %s", o.Op, a.Error)
	}
	return a
}

// wgKey is a private key with its public one.
type wgKey struct{ private, public string }

func newKey(t *testing.T) wgKey {
	t.Helper()
	private, err := exec.Command("wg", "genkey").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("wg", "pubkey")
	cmd.Stdin = bytes.NewReader(private)
	public, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return wgKey{strings.TrimSpace(string(private)), strings.TrimSpace(string(public))}
}

// interfaceName is one that no other run of these tests uses: network namespaces
// share the folder of sockets.
func interfaceName(letter byte) string { return fmt.Sprintf("np%d%c", os.Getpid(), letter) }

// writeConfig writes a file NAME.conf.
func writeConfig(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// debianWireGuard runs wireguard-go from Debian as an interface, set up by wg.
func (s *space) debianWireGuard(name, config string, addrs ...string) {
	s.t.Helper()
	cmd := exec.Command("wireguard-go", "-f", name)
	log := &buffer{}
	cmd.Env = append(os.Environ(), "LOG_LEVEL=debug", "WG_PROCESS_FOREGROUND=1")
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.do(cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it removes its socket then
		stop := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("what Debian's wireguard-go said:\n%s", log)
		}
	})
	eventually(s.t, func() string {
		if out, err := s.try("wg", "show", name); err != nil {
			return out
		}
		return ""
	})
	s.run("wg", "setconf", name, writeConfig(s.t, name, config))
	for _, a := range addrs {
		s.ip("addr add " + a + " dev " + name)
	}
	s.ip("link set " + name + " up")
}
