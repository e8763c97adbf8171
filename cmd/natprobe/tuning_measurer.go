package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// tunnelRegimes are what a tunnel's mappings go through. A single packet without
// an answer is none of them.
var tunnelRegimes = []results.Regime{results.Oneway, results.Exchange, results.Stream}

// trialFlows is how many flows try an interval now and then, and trialRounds for
// how many intervals.
const (
	trialFlows  = 8
	trialRounds = 2
)

// pathMeasurer measures the path of a tunnel: to the peer itself where that is a
// natprobe, and otherwise to the reflector that was named.
type pathMeasurer struct {
	mark      func() uint32 // what keeps packets out of the tunnel itself
	elsewhere *target       // the reflector that was named; nil: none
	late      float64       // how late keepalives fire, as a factor
	ports     probe.PortStore
	observe   func(probe.Progress) // nil: nobody looks
	log       *slog.Logger
}

// reflectorAt is who answers measurements, and how to talk to it.
type reflectorAt struct {
	addr   netip.AddrPort
	listen probe.ListenFunc
}

// try asks the peer first, and the reflector that was named where the peer is
// silent.
func (m *pathMeasurer) try(ctx context.Context, to tuner.Target, ask func(reflectorAt) error) error {
	err := ask(reflectorAt{to.Endpoint, sealed(m.listen, wire.NewSeal(to.Peer))})
	if !errors.Is(err, probe.ErrUnreachable) || ctx.Err() != nil {
		return unanswered(err)
	}
	if m.elsewhere == nil {
		return fmt.Errorf("%w: the peer at %v is no natprobe, or doesn't reflect, and no other reflector is named with --reflector",
			tuner.ErrNoReflector, to.Endpoint)
	}
	family := familyOf(to.Endpoint.Addr().Unmap())
	at, err := m.elsewhere.resolve(ctx, family)
	if err != nil {
		return fmt.Errorf("%w: %w", tuner.ErrNoReflector, err)
	}
	return unanswered(ask(reflectorAt{at.remote, m.listen}))
}

// unanswered says it in the words of the tuner that nobody helped.
func unanswered(err error) error {
	if errors.Is(err, probe.ErrUnreachable) || errors.Is(err, probe.ErrRefused) {
		return fmt.Errorf("%w: %w", tuner.ErrNoReflector, err)
	}
	return err
}

// listen opens a socket whose packets stay outside the tunnel.
func (m *pathMeasurer) listen(ctx context.Context, network, address string) (net.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if mark := m.mark(); mark != 0 {
			return setMark(c, mark)
		}
		return nil
	}}
	return config.ListenPacket(ctx, network, address)
}

// Measure measures the lifetimes on the path, and fills in what follows.
func (m *pathMeasurer) Measure(ctx context.Context, to tuner.Target) (*results.Record, error) {
	var found *results.Record
	err := m.try(ctx, to, func(at reflectorAt) error {
		p := &probe.Prober{
			Config: probe.Config{Reflector: at.addr, Regimes: tunnelRegimes},
			Listen: at.listen, Ports: m.ports, Observe: m.observe, Logger: m.log,
		}
		record, err := p.Measure(ctx)
		if record != nil && record.Reflector.BootID != "" {
			found = record
		}
		return err
	})
	if found == nil {
		return nil, err
	}
	found.Tool = buildInfo()
	recommendation := m.Recommend(found)
	found.Recommendation = &recommendation
	return found, err
}

// Verify tries an interval with a few flows.
func (m *pathMeasurer) Verify(ctx context.Context, to tuner.Target, interval time.Duration) (*results.Verification, error) {
	var found *results.Verification
	err := m.try(ctx, to, func(at reflectorAt) error {
		cfg := probe.SoakConfig{
			Reflector: at.addr, Interval: interval, Lateness: m.late,
			Budget: trialRounds*interval + 15*time.Second,
		}
		if most := cfg.Effective().Flows; most > trialFlows {
			cfg.Flows = trialFlows
		}
		s := &probe.Soaker{Config: cfg, Listen: at.listen, Ports: m.ports}
		var err error
		found, err = s.Soak(ctx)
		return err
	})
	return found, err
}

// Recommend returns what follows from a record for this tunnel.
func (m *pathMeasurer) Recommend(record *results.Record) results.Recommendation {
	in, err := analysis.InputFromRecord(*record)
	if err != nil {
		return results.Recommendation{Reason: err.Error()}
	}
	in.Tolerance.Lateness = m.late
	return analysis.Recommend(in)
}
