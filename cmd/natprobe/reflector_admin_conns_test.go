package main

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/reflector"
)

// adminPatience bounds waits on loopback. Only a failing test takes it.
const adminPatience = 20 * time.Second

// TestAdminCrowd: however many clients hold connections, and say nothing or half of
// something, the metrics are there for the next one, and few are held.
func TestAdminCrowd(t *testing.T) {
	t.Parallel()
	r, err := reflector.New(reflector.Config{})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := adminServer(r, slog.New(slog.DiscardHandler))
	var held atomic.Int64
	state := server.ConnState
	server.ConnState = func(conn net.Conn, s http.ConnState) {
		state(conn, s)
		switch s {
		case http.StateNew:
			held.Add(1)
		case http.StateClosed:
			held.Add(-1)
		default:
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		if err := errors.Join(server.Close(), <-served); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	open := func(says string) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(adminPatience))
		_, _ = io.WriteString(conn, says) // it may be closed already
		return conn
	}
	const request = "GET /metrics HTTP/1.1\r\nHost: reflector\r\n"
	var crowd []net.Conn
	for i := range 10 * maxAdminConns {
		crowd = append(crowd, open([]string{"", "GET", request, request + "\r\n" + request}[i%4]))
		if i%maxAdminConns != 0 {
			continue
		}
		status, body := http.StatusServiceUnavailable, ""
		for tries := 0; status == http.StatusServiceUnavailable && tries < 100; tries++ { // those of the crowd are being answered
			response, err := http.ReadResponse(bufio.NewReader(open(request+"\r\n")), nil)
			if err != nil {
				t.Fatalf("with %d connections open: %v", len(crowd), err)
			}
			b, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatalf("with %d connections open: %v", len(crowd), err)
			}
			status, body = response.StatusCode, string(b)
			_ = response.Body.Close()
		}
		if status != http.StatusOK || !strings.Contains(body, "natprobe_reflector_orders_pending 0\n") {
			t.Errorf("with %d connections open: status %d\n%s", len(crowd), status, body)
		}
	}
	for end := time.Now().Add(adminTimeout / 2); held.Load() > maxAdminConns; { // before their time is up
		if time.Now().After(end) {
			t.Fatalf("%d connections are held, want %d at most", held.Load(), maxAdminConns)
		}
		runtime.Gosched()
	}
}

// TestAdminAnswering: a connection whose request is being answered isn't the one
// that is closed for others.
func TestAdminAnswering(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	}))
	new(adminConns).attach(server.Config)
	server.Start()
	defer server.Close()
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get(server.URL)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	<-entered
	for range 2 * maxAdminConns {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	oldest, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer oldest.Close()
	close(leave)
	if got := <-answer; got != "done" {
		t.Errorf("the request that was being answered got %q", got)
	}
}

// pipeListener is a listener in memory that works in a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	close(l.closed)
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestAdminSlowClients: who says nothing, or a byte a second, or doesn't read the
// answer, is cut off in time.
func TestAdminSlowClients(t *testing.T) {
	t.Parallel()
	const request = "GET /metrics HTTP/1.1\r\nHost: reflector\r\n\r\n"
	for name, behave := range map[string]func(net.Conn){
		"says nothing":         func(net.Conn) {},
		"a byte a second":      func(conn net.Conn) { drip(conn, "GET /metrics HTTP/1.1\r\nHost: "+strings.Repeat("x", adminHeader)) },
		"a body byte a second": func(conn net.Conn) { drip(conn, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n") },
		"never reads":          func(conn net.Conn) { _, _ = io.WriteString(conn, request) },
		"asks once, and stays": func(conn net.Conn) {
			_, _ = io.WriteString(conn, request)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, err := reflector.New(reflector.Config{})
				if err != nil {
					t.Fatal(err)
				}
				listener := &pipeListener{make(chan net.Conn), make(chan struct{})}
				server := adminServer(r, slog.New(slog.DiscardHandler))
				done := make(chan time.Time, 1)
				state := server.ConnState
				server.ConnState = func(conn net.Conn, s http.ConnState) {
					state(conn, s)
					if s == http.StateClosed {
						done <- time.Now()
					}
				}
				go func() { _ = server.Serve(listener) }() // ends with Close
				defer server.Close()
				ours, theirs := net.Pipe()
				defer theirs.Close()
				listener.conns <- ours
				start := time.Now()
				go behave(theirs)
				if took := (<-done).Sub(start); took > 2*adminTimeout {
					t.Errorf("held for %v", took)
				}
			})
		})
	}
}

// drip says a byte a second, for as long as it is heard.
func drip(conn net.Conn, text string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		b := []byte{'x'}
		if i < len(text) {
			b[0] = text[i]
		}
		if _, err := conn.Write(b); err != nil {
			return
		}
		<-tick.C
	}
}
