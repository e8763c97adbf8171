package natlab

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyLabs runs labs side by side and checks that they don't see each
// other though all their addresses are the same.
func TestManyLabs(t *testing.T) {
	t.Parallel()
	const labs = 20
	networks := make([]*network, labs)
	var wg sync.WaitGroup
	lab(t, Spec{}) // skips here, where skipping is allowed
	for i := range networks {
		wg.Go(func() {
			l, err := Start(t.Context(), Spec{NATs: []NATSpec{shortBox}})
			if err != nil {
				t.Errorf("lab %d: %v", i, err)
				return
			}
			networks[i] = &network{Lab: l, t: t}
		})
	}
	wg.Wait()
	defer func() {
		for _, n := range networks {
			if n != nil {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	if t.Failed() {
		return
	}
	for _, n := range networks {
		// The same port in every lab.
		server, err := n.ServerListen(t.Context(), "udp", net.JoinHostPort(n.ServerAddr().String(), "3478"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		n.server = server
	}
	for _, n := range networks {
		n.flow().roundTrip()
	}
	for i, n := range networks {
		if got := drain(t, n.server); got != 0 {
			t.Errorf("lab %d got %d packets of others", i, got)
		}
	}
}

// TestCloseLeavesNothing must not run in parallel: it counts what the whole
// process holds.
func TestCloseLeavesNothing(t *testing.T) {
	lab(t, Spec{})
	used := func(l *Lab) {
		server, err := l.ServerListen(t.Context(), "udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		client, err := l.ClientListen(t.Context(), "udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.SetLoss(0.5, 0.5), client.Close(), server.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	spec := Spec{NATs: []NATSpec{{}, {None: true}}, Loss: 0.1}
	start := func() *Lab {
		l, err := Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	used(start()) // whatever the runtime and the libraries open once
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 3 {
		used(start())
	}
	// Goroutines that have given their result need a moment to end.
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("%d goroutines, %d before", got, goroutines)
	}
	if got := openFiles(t); len(got) > len(files) {
		t.Errorf("open files:\n%s\nbefore:\n%s", strings.Join(got, "\n"), strings.Join(files, "\n"))
	}
	namespaces := map[string]bool{}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil { // the thread may be gone
			namespaces[ns] = true
		}
	}
	if len(namespaces) != 1 {
		t.Errorf("threads are in the namespaces %v, want all in one", namespaces)
	}
}

func openFiles(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, entry := range entries {
		if target, err := os.Readlink(entry); err == nil { // Glob's own is closed by now
			files = append(files, target)
		}
	}
	return files
}

// TestClose checks that a socket left open keeps nothing alive, and what a
// closed lab answers.
func TestClose(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}})
	f := n.flow()
	f.roundTrip()
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.conn.WriteTo([]byte("x"), n.server.LocalAddr()); err == nil {
		t.Error("a socket of a closed lab still has a network")
	}
	_, listenErr := n.ClientListen(t.Context(), "udp", ":0")
	for name, err := range map[string]error{
		"ClientListen":   listenErr,
		"FlushConntrack": n.FlushConntrack(0),
		"SetLoss":        n.SetLoss(0, 0),
		"SetLink":        n.SetLink(true),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s on a closed lab: %v, want %v", name, err, net.ErrClosed)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	if _, err := Start(t.Context(), Spec{Name: "odd", Loss: 2}); err == nil || !strings.Contains(err.Error(), `lab "odd": loss 2`) {
		t.Errorf("a spec that doesn't validate: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Spec{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a cancelled context: %v, want %v", err, context.Canceled)
	}
}

// TestClientListen checks that addresses mean what they mean outside of labs.
func TestClientListen(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}})
	conn, err := n.ClientListen(t.Context(), "udp4", net.JoinHostPort(n.ClientAddr().String(), "40001"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := port(conn.LocalAddr()); got != 40001 {
		t.Errorf("port %d, want the one asked for, 40001", got)
	}
	if _, ok := conn.(*net.UDPConn); !ok {
		t.Errorf("%T, want *net.UDPConn, which golang.org/x/net can work with", conn)
	}
	if again, err := n.ClientListen(t.Context(), "udp4", conn.LocalAddr().String()); err == nil {
		_ = again.Close()
		t.Error("a port was given out twice")
	}
	if other, err := n.ClientListen(t.Context(), "udp4", net.JoinHostPort(n.ServerAddr().String(), "0")); err == nil {
		_ = other.Close()
		t.Error("the client could have the server's address")
	}
}

func BenchmarkStart(b *testing.B) {
	for _, spec := range Catalogue() {
		b.Run(spec.Name, func(b *testing.B) {
			for b.Loop() {
				if err := lab(b, spec).Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
