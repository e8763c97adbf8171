package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/natprobe/natprobe/reflector"
)

// TestAdmin asks the admin address of a running reflector, and of one that is
// not served.
func TestAdmin(t *testing.T) {
	t.Parallel()
	r, err := reflector.New(reflector.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(adminHandler(r))
	defer server.Close()
	get := func(method, path string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if status, body := get("GET", "/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "no socket") {
		t.Errorf("health without sockets: %d, %q", status, body)
	}
	conn := udpSocket(t)
	served := make(chan error, 1)
	go func() { served <- r.Serve(t.Context(), conn) }()
	for status, body := get("GET", "/healthz"); status != http.StatusOK; status, body = get("GET", "/healthz") {
		if len(served) > 0 {
			t.Fatalf("health is %d, %q, and Serve has ended with %v", status, body, <-served)
		}
	}
	if status, body := get("GET", "/metrics"); status != http.StatusOK || !strings.Contains(body, "natprobe_reflector_orders_pending 0\n") {
		t.Errorf("metrics: %d\n%s", status, body)
	}
	for _, try := range []struct {
		method, path string
		want         int
	}{{"POST", "/metrics", http.StatusMethodNotAllowed}, {"GET", "/", http.StatusNotFound}, {"GET", "/debug/pprof/", http.StatusNotFound}} {
		if status, _ := get(try.method, try.path); status != try.want {
			t.Errorf("%s %s: %d, want %d", try.method, try.path, status, try.want)
		}
	}
	_, page := get("GET", "/metrics")
	lintMetrics(t, page)
	conn.Close()
	if err := <-served; err == nil {
		t.Error("Serve says nothing of a socket that was closed")
	}
}

// lintMetrics looks at all that is served, the runtime's metrics too.
func lintMetrics(t *testing.T, page string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds"} {
		if !strings.Contains(page, "\n"+name+" ") && runtime.GOOS == "linux" {
			t.Errorf("no %s", name)
		}
	}
}

// TestHealthStuck: a reflector that doesn't answer is told to all who ask, keeps
// one question, and is well when it answers again.
func TestHealthStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, stuck := 0, make(chan struct{})
		h := newHealth(func() reflector.Stats {
			asked++
			<-stuck
			return reflector.Stats{Sockets: 1}
		})
		for range 3 {
			if err := h.check(t.Context()); err == nil || !strings.Contains(err.Error(), "no counters") {
				t.Errorf("a reflector that is stuck is told as %v", err)
			}
		}
		synctest.Wait()
		if asked != 1 {
			t.Errorf("%d questions wait for it, want 1", asked)
		}
		close(stuck)
		if err := h.check(t.Context()); err != nil {
			t.Errorf("when it answers again: %v", err)
		}
	})
}

// untilServing is a standard error that ends the reflector when that serves.
type untilServing struct {
	bytes.Buffer
	end context.CancelFunc
}

func (u *untilServing) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("serving")) {
		u.end()
	}
	return u.Buffer.Write(b)
}

// TestReflectorTells: what it says when it begins, in text and JSON.
func TestReflectorTells(t *testing.T) {
	t.Parallel()
	secret, open := writeFile(t, "secret", strings.Repeat("x", 32)), writeFile(t, "open", strings.Repeat("x", 32))
	if err := os.Chmod(secret, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	blank := writeFile(t, "config.yaml", "verbs: {reflector: {secret-file: \"\"}}\n")
	const warning = "level=WARN"
	for _, tt := range []struct{ args, says, not string }{
		{"--admin 127.0.0.1:0", `(?s)Listening on .*\nMetrics and health: http://127\.0\.0\.1:[1-9]\d*/metrics and /healthz\n`, warning},
		{"--admin 127.0.0.1:0 --log-format json", `"msg":"listening"(.*\n).*"msg":"admin listening","address":"127\.0\.0\.1:[1-9]\d*"`, "WARN"},
		{"--admin 0.0.0.0:0", warning + `.*the admin address is not for the public.*address=0\.0\.0\.0:[1-9]`, "the secret"},
		{"--secret-file " + open, warning + `.*can read the secret.*secret_file=.*open`, "Metrics"},
		{"--secret-file " + secret, "Listening on", warning},
		{"--config " + blank, "Listening on", warning},
	} {
		t.Run(tt.args, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			said := &untilServing{end: end}
			nothing := func(name string) (string, bool) { return "", name == "GOGC" || name == "GOMAXPROCS" } // as runtimeAsItIs
			args := append(strings.Fields("reflector --listen 127.0.0.1:0 --config "+os.DevNull), strings.Fields(tt.args)...)
			status := run(ctx, args, nothing, strings.NewReader(""), io.Discard, said)
			if got := said.String(); status != exitDone || !regexp.MustCompile(tt.says).MatchString(got) || strings.Contains(got, tt.not) {
				t.Errorf("status %d; want %q and no %q in:\n%s", status, tt.says, tt.not, got)
			}
		})
	}
}
