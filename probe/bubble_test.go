package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/results"
)

func reflectorAddr() netip.AddrPort { return netip.MustParseAddrPort("198.51.100.7:3478") }

// world is one modelled network with a reflector on it, inside a bubble.
type world struct {
	t    *testing.T
	net  *simulate.Network
	stop func()
}

func newWorld(t *testing.T, cfg simulate.Config) *world {
	t.Helper()
	n, err := simulate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, net: n}
	w.startReflector()
	return w
}

// startReflector begins another life of the reflector, with another secret.
func (w *world) startReflector() {
	w.t.Helper()
	at := reflectorAddr()
	conn, err := w.net.Server(at.Addr()).ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := reflector.New(reflector.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, conn) }()
	w.stop = func() {
		cancel()
		if err := <-served; err != nil {
			w.t.Errorf("Serve: %v", err)
		}
		_ = conn.Close()
	}
}

func (w *world) restartReflector() {
	w.stop()
	w.startReflector()
}

func (w *world) close() {
	w.stop()
	if err := w.net.Close(); err != nil {
		w.t.Error(err)
	}
}

// measure runs a whole measurement in a bubble, with faults beside it.
func measure(t *testing.T, network simulate.Config, cfg probe.Config, faults func(context.Context, *world)) *results.Record {
	t.Helper()
	return watched(t, network, cfg, faults, nil)
}

// watched is measure with somebody who looks on.
func watched(
	t *testing.T, network simulate.Config, cfg probe.Config, faults func(context.Context, *world), observe func(probe.Progress),
) *results.Record {
	t.Helper()
	var record *results.Record
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, network)
		ctx, cancel := context.WithCancel(context.Background())
		var beside sync.WaitGroup
		if faults != nil {
			beside.Go(func() { faults(ctx, w) })
		}
		cfg.Reflector = reflectorAddr()
		cfg.Seed = network.Seed + 1
		p := probe.Prober{Config: cfg, Listen: w.net.Client().ListenPacket, Ports: fixedPorts(network.Seed), Observe: observe}
		var err error
		record, err = p.Measure(context.Background())
		cancel()
		beside.Wait()
		w.close()
		if err != nil {
			t.Fatalf("Measure: %v", err)
		}
	})
	return record
}

// fixedPorts make a run repeatable: a modelled network's loss depends on the
// flow.
type fixedPorts uint64

func (p fixedPorts) Load() (probe.PortState, error) {
	return probe.PortState{Seed: uint64(p)*0x9e3779b97f4a7c15 | 1}, nil
}
func (fixedPorts) Save(probe.PortState) error { return nil }

// sleep waits in fake time and reports whether the measurement is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// check compares a record with the true lifetimes by regime: each bracket must
// contain its own.
func check(r *results.Record, truth map[results.Regime]time.Duration) error {
	var errs []error
	for _, l := range r.Lifetimes {
		want, ok := truth[l.Regime]
		if !ok {
			continue
		}
		if l.LowerS > want.Seconds() || l.UpperS != nil && *l.UpperS <= want.Seconds() {
			errs = append(errs, fmt.Errorf("%s: bracket %s does not contain %v", l.Regime, bracket(l), want))
		}
	}
	return errors.Join(errs...)
}

func bracket(l results.Lifetime) string {
	if l.UpperS == nil {
		return fmt.Sprintf("[%.2f, -)", l.LowerS)
	}
	return fmt.Sprintf("[%.2f, %.2f)", l.LowerS, *l.UpperS)
}
