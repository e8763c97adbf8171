package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/natprobe/natprobe/results"
)

// asProgram makes the test binary natprobe itself, so that tests can run it in a
// namespace, kill it and look at what is left.
const asProgram = "NATPROBE_TEST_AS_PROGRAM"

// TestMain gives the tests a cache folder of their own, and no configuration
// file.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	dir, err := os.MkdirTemp("", "natprobe-cli-")
	if err == nil {
		err = errors.Join(os.Setenv("XDG_CACHE_HOME", dir), os.Setenv(configVariable, os.DevNull))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// told is what a command line gave.
type told struct {
	status         int
	stdout, stderr string
}

// natprobe runs a command line with an environment of its own.
func natprobe(ctx context.Context, env map[string]string, stdin string, args ...string) told {
	lookup := func(name string) (string, bool) {
		value, ok := env[name]
		if name == configVariable && !ok {
			return os.DevNull, true // not this machine's file
		}
		return value, ok
	}
	var stdout, stderr bytes.Buffer
	status := run(ctx, args, lookup, strings.NewReader(stdin), &stdout, &stderr)
	return told{status, stdout.String(), stderr.String()}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// udpSocket returns a socket that answers nothing.
func udpSocket(t *testing.T) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// startReflector runs the verb on loopback until the test ends, and returns
// its address.
// runtimeAsItIs is the environment of a reflector within this process: it leaves Go's
// runtime alone, which it would share with others.
func runtimeAsItIs(name string) (string, bool) {
	if name == "GOGC" || name == "GOMAXPROCS" {
		return "", true
	}
	return os.LookupEnv(name)
}

func startReflector(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stderr := newTail()
	status := make(chan int, 1)
	go func() {
		args := append([]string{"reflector", "--listen", "127.0.0.1:0", "--log-format", "json"}, args...)
		status <- run(ctx, args, runtimeAsItIs, strings.NewReader(""), io.Discard, stderr)
	}()
	t.Cleanup(func() {
		cancel()
		if got := <-status; got != exitDone {
			t.Errorf("the reflector ended with status %d; it said:\n%s", got, stderr.text())
		}
	})
	line, err := stderr.firstLine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var record struct{ Msg, Address string }
	if err := json.Unmarshal([]byte(line), &record); err != nil || record.Msg != "listening" {
		t.Fatalf("the reflector's first line is %q (%v), want where it listens", line, err)
	}
	return record.Address
}

// tail is a writer whose first line can be waited for.
type tail struct {
	mu    sync.Mutex
	all   bytes.Buffer
	first chan struct{} // closed with the end of the first line
	has   bool
}

func newTail() *tail { return &tail{first: make(chan struct{})} }

// Write keeps what is written.
func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.has && bytes.ContainsRune(b, '\n') {
		l.has = true
		close(l.first)
	}
	return l.all.Write(b)
}

func (l *tail) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *tail) firstLine(ctx context.Context) (string, error) {
	select {
	case <-l.first:
		line, _, _ := strings.Cut(l.text(), "\n")
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// decodeRecord reads the one document that stdout must consist of.
func decodeRecord(t *testing.T, stdout string) results.Record {
	t.Helper()
	records, err := results.ReadRecords(strings.NewReader(stdout), "standard output")
	if err != nil || len(records) != 1 {
		t.Fatalf("standard output has %d records (%v), want 1:\n%.500s", len(records), err, stdout)
	}
	return records[0]
}
