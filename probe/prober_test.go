package probe_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

func TestValidateNamesFieldValueAndRange(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:3478")
	tests := []struct {
		cfg  probe.Config
		want []string
	}{
		{probe.Config{}, []string{"reflector"}},
		{probe.Config{Reflector: netip.MustParseAddrPort("192.0.2.1:0")}, []string{"reflector", "192.0.2.1:0"}},
		{probe.Config{Reflector: at, Min: time.Millisecond}, []string{"min", "1ms", "250ms", "1h"}},
		{probe.Config{Reflector: at, Max: 2 * time.Hour}, []string{"max", "2h", "1h"}},
		{probe.Config{Reflector: at, Min: time.Minute, Max: time.Second}, []string{"min 1m0s", "max 1s"}},
		{probe.Config{Reflector: at, Flows: 3}, []string{"flows 3", "32"}},
		{probe.Config{Reflector: at, Budget: -1}, []string{"budget"}},
		{probe.Config{Reflector: at, Regimes: []results.Regime{"quiet"}}, []string{"quiet", "solitary"}},
		{probe.Config{Reflector: at, Regimes: []results.Regime{results.Stream, results.Stream}}, []string{"stream", "twice"}},
	}
	for _, test := range tests {
		err := test.cfg.Validate()
		if !errors.Is(err, probe.ErrConfig) {
			t.Errorf("%+v: %v, want ErrConfig", test.cfg, err)
			continue
		}
		for _, word := range test.want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not name %q", err, word)
			}
		}
	}
	if err := (probe.Config{Reflector: at}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestOpenPathIsRightCensored(t *testing.T) {
	r := measure(t, simulate.Config{}, probe.Config{Max: 40 * time.Second, Local: netip.MustParseAddr("192.168.1.2")}, nil)
	if !r.Complete {
		t.Error("the run is not complete")
	}
	for _, l := range r.Lifetimes {
		if l.UpperS != nil || l.LowerS < 40 || l.Censored != results.CensoredRight {
			t.Errorf("%s: %s, %s", l.Regime, bracket(l), l.Censored)
		}
	}
	if r.Network.Mapping != "none" {
		t.Errorf("mapping %q, want none", r.Network.Mapping)
	}
	if r.Effort.ElapsedS > 40*1.03+8 {
		t.Errorf("took %.1f s", r.Effort.ElapsedS)
	}
}

func TestFewFlowsTakeMoreRounds(t *testing.T) {
	nat := natmodel.Linux(20*time.Second, 60*time.Second)
	r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}}, probe.Config{Gentle: true}, nil)
	if err := check(r, truthOf(nat.Timers)); err != nil {
		t.Error(err)
	}
	for _, l := range r.Lifetimes {
		if l.UpperS == nil || *l.UpperS-l.LowerS > 4 {
			t.Errorf("%s: bracket %s is wide", l.Regime, bracket(l))
		}
	}
	if r.Effort.MaxMappings > probe.GentleFlows || r.Effort.Rounds < 2 {
		t.Errorf("%d mappings at a time in %d rounds", r.Effort.MaxMappings, r.Effort.Rounds)
	}
}

func TestOneRegimeAlone(t *testing.T) {
	nat := natmodel.Linux(7*time.Second, 25*time.Second)
	for _, regime := range results.Regimes() {
		r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}}, probe.Config{Regimes: []results.Regime{regime}}, nil)
		if len(r.Lifetimes) != 1 || r.Lifetimes[0].Regime != regime || r.Lifetimes[0].UpperS == nil {
			t.Errorf("%s: %+v", regime, r.Lifetimes)
		}
		if err := check(r, truthOf(nat.Timers)); err != nil {
			t.Error(err)
		}
	}
}

func TestIPv6Firewall(t *testing.T) {
	wall := natmodel.Firewall(30 * time.Second)
	n := simulate.Config{NATs: []natmodel.Config{wall}, Client: netip.MustParseAddr("2001:db8:1::2")}
	synctest.Test(t, func(t *testing.T) {
		network, err := simulate.New(n)
		if err != nil {
			t.Fatal(err)
		}
		at := netip.MustParseAddrPort("[2001:db8:2::7]:3478")
		stop := serve(t, network, at, reflector.Config{})
		p := probe.Prober{Config: probe.Config{Reflector: at, Local: n.Client, Max: 90 * time.Second}, Listen: network.Client().ListenPacket}
		r, err := p.Measure(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := check(r, truthOf(wall.Timers)); err != nil {
			t.Error(err)
		}
		if !r.Complete || r.Network.Family != results.IPv6 || r.Network.Mapping != "none" {
			t.Errorf("complete %v, network %+v", r.Complete, r.Network)
		}
		stop()
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
}

func serve(t *testing.T, n *simulate.Network, at netip.AddrPort, cfg reflector.Config) (stop func()) {
	t.Helper()
	return serveBehind(t, n, at, cfg, func(conn net.PacketConn) net.PacketConn { return conn })
}

// serveBehind is serve with something before the reflector's socket.
func serveBehind(t *testing.T, n *simulate.Network, at netip.AddrPort, cfg reflector.Config, before func(net.PacketConn) net.PacketConn) (stop func()) {
	t.Helper()
	conn, err := n.Server(at.Addr()).ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	r, err := reflector.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, before(conn)) }()
	return func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		_ = conn.Close()
	}
}

// inBubble runs f over a modelled network without a reflector.
func inBubble(t *testing.T, f func(t *testing.T, n *simulate.Network)) {
	t.Helper()
	inNetwork(t, simulate.Config{NATs: []natmodel.Config{natmodel.Linux(6*time.Second, 12*time.Second)}}, f)
}

// inNetwork is inBubble for any network.
func inNetwork(t *testing.T, cfg simulate.Config, f func(t *testing.T, n *simulate.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, err := simulate.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f(t, n)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr()}, Listen: n.Client().ListenPacket}
		r, err := p.Measure(context.Background())
		if !errors.Is(err, probe.ErrUnreachable) || !strings.Contains(err.Error(), reflectorAddr().String()) {
			t.Errorf("error %v", err)
		}
		if r == nil || r.Complete || len(r.Trials) > 0 {
			t.Errorf("record %+v", r)
		}
	})
}

func TestPlainSTUNServerIsNoReflector(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		conn, err := n.Server(reflectorAddr().Addr()).ListenPacket(context.Background(), "udp", reflectorAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 1500)
			for {
				size, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				request, err := wire.ParseRequest(buf[:size])
				if hello, ok := request.(wire.Hello); ok && err == nil {
					reply := wire.BindingReply{ID: hello.ID, Mapped: from.(*net.UDPAddr).AddrPort()}
					_, _ = conn.WriteTo(reply.Encode(), from)
				}
			}
		}()
		p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr()}, Listen: n.Client().ListenPacket}
		if _, err := p.Measure(context.Background()); !errors.Is(err, probe.ErrRefused) || !strings.Contains(err.Error(), "plain STUN") {
			t.Errorf("error %v", err)
		}
		_ = conn.Close()
		<-done
	})
}

func TestReflectorThatGrantsTooLittle(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		stop := serve(t, n, reflectorAddr(), reflector.Config{Limits: reflector.Limits{MaxDelay: time.Minute}})
		defer stop()
		p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr()}, Listen: n.Client().ListenPacket}
		_, err := p.Measure(context.Background())
		if !errors.Is(err, probe.ErrRefused) || !strings.Contains(err.Error(), "1m0s") {
			t.Errorf("error %v", err)
		}
	})
}

func TestReflectorThatGoesAway(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		stop := serve(t, n, reflectorAddr(), reflector.Config{})
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			time.Sleep(10 * time.Second)
			stop()
		}()
		p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr()}, Listen: n.Client().ListenPacket}
		r, err := p.Measure(context.Background())
		if !errors.Is(err, probe.ErrUnreachable) {
			t.Errorf("error %v", err)
		}
		if err := check(r, truthOf(natmodel.Linux(6*time.Second, 12*time.Second).Timers)); err != nil {
			t.Error(err)
		}
		if len(r.Trials) == 0 {
			t.Error("what was measured is lost")
		}
		<-gone
	})
}

func TestInterruptedRunKeepsWhatItHas(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		stop := serve(t, n, reflectorAddr(), reflector.Config{})
		defer stop()
		ctx, cancel := context.WithTimeout(context.Background(), 9*time.Second)
		defer cancel()
		var last probe.Progress
		p := probe.Prober{
			Config: probe.Config{Reflector: reflectorAddr()}, Listen: n.Client().ListenPacket,
			Observe: func(now probe.Progress) { last = now },
		}
		r, err := p.Measure(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if r.Complete || len(r.Trials) < 10 {
			t.Errorf("complete %v with %d trials", r.Complete, len(r.Trials))
		}
		if last.Certain < 2*time.Second || last.Remaining <= 0 || len(last.Regimes) != 4 {
			t.Errorf("last progress: certain %v, remaining %v, %d regimes", last.Certain, last.Remaining, len(last.Regimes))
		}
	})
}

func TestBudgetEndsTheRun(t *testing.T) {
	nat := natmodel.Linux(6*time.Second, 60*time.Second)
	r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}}, probe.Config{Budget: 20 * time.Second}, nil)
	if err := check(r, truthOf(nat.Timers)); err != nil {
		t.Error(err)
	}
	if r.Complete || r.Effort.ElapsedS > 20.1 {
		t.Errorf("complete %v after %.1f s", r.Complete, r.Effort.ElapsedS)
	}
	for _, l := range r.Lifetimes {
		if (l.UpperS == nil) != (l.Regime == results.Stream) {
			t.Errorf("%s: bracket %s", l.Regime, bracket(l))
		}
	}
}

// TestFewDescriptors lets sockets run out, for the whole run or for a while.
func TestFewDescriptors(t *testing.T) {
	cases := map[string]struct {
		most, meanwhile int
		until           time.Duration // there are no more than meanwhile, from 2 s after the start
		says            string
		err             error
	}{
		"fewer":                  {60, 60, 0, "going on with 5", nil},
		"hardly enough":          {20, 20, 0, "going on with 20 flows", nil},
		"next to none for 8 s":   {500, 4, 10 * time.Second, "going on with", nil},
		"next to none for 1 min": {500, 4, time.Minute, "going on with", probe.ErrFiles},
		"next to none":           {6, 6, 0, "", probe.ErrFiles},
		"none":                   {0, 0, 0, "", probe.ErrFiles},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *simulate.Network) {
				stop := serve(t, n, reflectorAddr(), reflector.Config{})
				defer stop()
				began := time.Now()
				sockets := &limit{most: func() int {
					if d := time.Since(began); d >= 2*time.Second && d < c.until {
						return c.meanwhile
					}
					return c.most
				}}
				listen := func(ctx context.Context, network, address string) (net.PacketConn, error) {
					if !sockets.take() {
						return nil, syscall.EMFILE
					}
					conn, err := n.Client().ListenPacket(ctx, network, address)
					return &limited{conn, sockets}, err
				}
				p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr()}, Listen: listen}
				r, err := p.Measure(context.Background())
				if !errors.Is(err, c.err) {
					t.Fatalf("error %v, want %v", err, c.err)
				}
				if err := check(r, truthOf(natmodel.Linux(6*time.Second, 12*time.Second).Timers)); err != nil {
					t.Error(err)
				}
				if r.Complete != (c.err == nil) {
					t.Errorf("complete: %v", r.Complete)
				}
				if c.says != "" && (len(r.Events) == 0 || r.Events[0].Reason != results.ReasonSocket || !strings.Contains(r.Events[0].Detail, c.says)) {
					t.Errorf("events %+v", r.Events)
				}
			})
		})
	}
}

// TestPortsInUse lets another program hold every other source port, the first
// one included.
func TestPortsInUse(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		stop := serve(t, n, reflectorAddr(), reflector.Config{})
		defer stop()
		opened := 0
		listen := func(ctx context.Context, network, address string) (net.PacketConn, error) {
			if opened++; opened%2 == 1 {
				return nil, syscall.EADDRINUSE
			}
			return n.Client().ListenPacket(ctx, network, address)
		}
		p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr(), Max: 20 * time.Second}, Listen: listen}
		r, err := p.Measure(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := check(r, truthOf(natmodel.Linux(6*time.Second, 12*time.Second).Timers)); err != nil {
			t.Error(err)
		}
		if !r.Complete {
			t.Error("the run is not complete")
		}
	})
}

// TestReflectorThatLimitsPackets shares an address with others: what the
// reflector refuses is neither loss nor expiry.
func TestReflectorThatLimitsPackets(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		stop := serve(t, n, reflectorAddr(), reflector.Config{Limits: reflector.Limits{PPS: 60}})
		defer stop()
		p := probe.Prober{
			Config: probe.Config{Reflector: reflectorAddr(), Max: 20 * time.Second, Budget: 10 * time.Minute},
			Listen: n.Client().ListenPacket,
		}
		r, err := p.Measure(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if err := check(r, truthOf(natmodel.Linux(6*time.Second, 12*time.Second).Timers)); err != nil {
			t.Error(err)
		}
		if r.Loss.Lost > 0 || r.Loss.Inbound.Lost > 0 {
			t.Errorf("refusals count as loss: %+v", r.Loss)
		}
		if len(r.Events) == 0 || r.Events[0].Reason != results.ReasonRefused {
			t.Errorf("events %+v", r.Events)
		}
	})
}

// limit is how many sockets may be open at a time.
type limit struct {
	most func() int
	open atomic.Int64
}

func (l *limit) take() bool {
	if l.open.Add(1) > int64(l.most()) {
		l.open.Add(-1)
		return false
	}
	return true
}

// limited gives its place back when it is closed.
type limited struct {
	net.PacketConn
	limit *limit
}

func (l *limited) Close() error {
	l.limit.open.Add(-1)
	return l.PacketConn.Close()
}
