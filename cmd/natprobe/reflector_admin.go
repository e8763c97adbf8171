package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/natprobe/natprobe/reflector"
)

const (
	// adminTimeout bounds each part of an exchange on the admin address: who is
	// slow there may not hold connections.
	adminTimeout = 10 * time.Second
	// adminHeader is the most that a request's header may have, in bytes.
	adminHeader = 16 << 10
	// healthTimeout is how long the reflector may take to tell its counters
	// before it counts as stuck.
	healthTimeout = 2 * time.Second
)

// admin serves metrics and health on an address of its own.
type admin struct {
	listener net.Listener
	server   *http.Server
}

// openAdmin opens the address.
func openAdmin(ctx context.Context, address string, r *reflector.Reflector, logger *slog.Logger) (*admin, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, usagef("--admin %q: want IP:PORT, as 127.0.0.1:9478", address)
	}
	if err := unfit(at.Addr()); err != nil {
		return nil, usagef("--admin %s: %w", address, err)
	}
	network := "tcp"
	if at.Addr().Unmap().Is4() {
		network = "tcp4" // for 0.0.0.0 Go would take IPv6 too
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, address)
	if err != nil {
		return nil, listenError("--admin "+address, err)
	}
	return &admin{listener: listener, server: adminServer(r, logger)}, nil
}

// adminServer returns the server of an admin address: it bounds what a client can
// hold, and for how long.
func adminServer(r *reflector.Reflector, logger *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           adminHandler(r),
		ReadHeaderTimeout: adminTimeout, ReadTimeout: adminTimeout, WriteTimeout: adminTimeout, IdleTimeout: adminTimeout,
		MaxHeaderBytes: adminHeader,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	new(adminConns).attach(server)
	return server
}

// adminHandler serves /metrics and /healthz.
func adminHandler(r *reflector.Reflector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(reflector.NewCollector(r), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: adminTimeout}))
	h := newHealth(r.Stats)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, req *http.Request) {
		if err := h.check(req.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n") // who asked is gone, where that fails
	})
	return mux
}

// health asks a reflector for its counters, one question at a time: one that is
// stuck holds one goroutine, however many ask.
type health struct {
	stats  func() reflector.Stats
	asking chan struct{} // has room for one question
}

func newHealth(stats func() reflector.Stats) *health {
	return &health{stats: stats, asking: make(chan struct{}, 1)}
}

// check says why a reflector isn't well. Its sockets end the program when they
// fail, so what is left is that it is stuck.
func (h *health) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	told := make(chan reflector.Stats, 1)
	select {
	case h.asking <- struct{}{}:
		go func() {
			told <- h.stats()
			<-h.asking
		}()
	case <-ctx.Done(): // the question before isn't answered yet
	}
	select {
	case s := <-told:
		if s.Sockets == 0 {
			return errors.New("no socket is served")
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no counters within %v", healthTimeout)
	}
}

// close gives the address back, served or not.
func (s *admin) close() { _ = s.listener.Close() } // served, it is closed already

// serve serves until ctx is done.
func (s *admin) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.server.Close() })()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin address: %w", err)
	}
	return nil
}
