package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// soak runs a whole soak in a bubble, with faults beside it, and returns what
// it ended with.
func soak(t *testing.T, network simulate.Config, cfg probe.SoakConfig, faults func(context.Context, *world)) *results.Verification {
	t.Helper()
	var v *results.Verification
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, network)
		ctx, cancel := context.WithCancel(context.Background())
		var beside sync.WaitGroup
		if faults != nil {
			beside.Go(func() { faults(ctx, w) })
		}
		cfg.Reflector = reflectorAddr()
		cfg.Seed = network.Seed + 1
		var err error
		s := probe.Soaker{Config: cfg, Listen: w.net.Client().ListenPacket, Ports: fixedPorts(network.Seed)}
		v, err = s.Soak(context.Background())
		cancel()
		beside.Wait()
		w.close()
		if err != nil {
			t.Fatalf("Soak: %v", err)
		}
	})
	return v
}

func samplesOf(v *results.Verification, regime results.Regime) results.Samples {
	for _, r := range v.Regimes {
		if r.Regime == regime {
			return r.Samples
		}
	}
	return results.Samples{}
}

func TestSoak(t *testing.T) {
	t.Parallel()
	flat := natmodel.Linux(30*time.Second, 30*time.Second)
	linux := natmodel.Linux(30*time.Second, 120*time.Second)
	random := linux
	random.Ports = natmodel.Random
	outboundOnly := natmodel.Linux(30*time.Second, 30*time.Second)
	outboundOnly.RefreshInbound = false
	far := func(c simulate.Config) simulate.Config {
		c.Inside, c.Outside, c.Jitter = 5*time.Millisecond, 250*time.Millisecond, 40*time.Millisecond
		return c
	}
	lossy := func(c simulate.Config) simulate.Config {
		c.LossOut, c.LossIn = 0.1, 0.1
		return c
	}
	behind := func(n natmodel.Config) simulate.Config { return simulate.Config{NATs: []natmodel.Config{n}} }
	tests := []struct {
		name string
		net  simulate.Config
		cfg  probe.SoakConfig
		want results.Verdict
		fail results.Regime // the regime that misses; none for ""
	}{
		{"below", behind(linux), probe.SoakConfig{Interval: 25 * time.Second}, results.Holds, ""},
		{"just below", behind(flat), probe.SoakConfig{Interval: 29 * time.Second}, results.Holds, ""},
		{"inbound refreshes nothing", behind(outboundOnly), probe.SoakConfig{Interval: 25 * time.Second}, results.Holds, ""},
		{"random ports", behind(random), probe.SoakConfig{Interval: 25 * time.Second}, results.Holds, ""},
		{"far away", far(behind(linux)), probe.SoakConfig{Interval: 25 * time.Second}, results.Holds, ""},
		{"loss", lossy(behind(linux)), probe.SoakConfig{Interval: 25 * time.Second}, results.Holds, ""},
		{"open path", simulate.Config{}, probe.SoakConfig{Interval: 2 * time.Second}, results.Holds, ""},
		{"above the first timer", behind(linux), probe.SoakConfig{Interval: 35 * time.Second}, results.Fails, results.Exchange},
		{"above the first timer, loss", lossy(behind(linux)), probe.SoakConfig{Interval: 35 * time.Second}, results.Fails, results.Exchange},
		{"above the first timer, far", far(behind(random)), probe.SoakConfig{Interval: 32 * time.Second}, results.Fails, results.Exchange},
		{"a stream between the timers", behind(linux), probe.SoakConfig{
			Interval: 35 * time.Second, Regimes: []results.Regime{results.Stream},
		}, results.Holds, ""},
		{"above the stream's timer", behind(linux), probe.SoakConfig{
			Interval: 125 * time.Second, Regimes: []results.Regime{results.Stream},
		}, results.Fails, results.Stream},
		{"late keepalives", behind(flat), probe.SoakConfig{Interval: 28 * time.Second, Lateness: 1.13}, results.Fails, results.Exchange},
		{"no time", behind(linux), probe.SoakConfig{Interval: 25 * time.Second, Budget: 90 * time.Second}, results.Undecided, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.net.Seed = 7
			v := soak(t, test.net, test.cfg, nil)
			t.Logf("%s after %.0f s: %+v, reasons %v", v.Verdict, v.Effort.ElapsedS, v.Samples, v.Reasons)
			if v.Verdict != test.want {
				t.Errorf("verdict %s, want %s; regimes %+v, events %+v", v.Verdict, test.want, v.Regimes, v.Events)
			}
			for _, r := range v.Regimes {
				truly := test.want == results.Fails && (r.Regime == test.fail || test.name == "late keepalives")
				switch {
				case truly && r.Reached > 0:
					t.Errorf("%s: reached %d times through a mapping that is gone", r.Regime, r.Reached)
				case !truly && r.Missed > 0:
					t.Errorf("%s: missed %d times though the mapping lives", r.Regime, r.Missed)
				}
			}
			if test.want == results.Fails && samplesOf(v, test.fail).Missed == 0 {
				t.Errorf("%s never missed", test.fail)
			}
		})
	}
}

// TestSoakFaults lets things happen that are not the timer's doing: they must
// never count as misses, and must be told.
func TestSoakFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		strike func(*world) error
		tells  []results.Reason
	}{
		{"NAT reboot", func(w *world) error { return w.net.RebootNAT(0) }, []results.Reason{results.ReasonNATReboot, results.ReasonAddressChange}},
		{"address change", func(w *world) error { return w.net.ChangeAddress(netip.MustParseAddr("203.0.113.77")) }, []results.Reason{results.ReasonAddressChange}},
		{"reflector restart", func(w *world) error { w.restartReflector(); return nil }, []results.Reason{results.ReasonRestart}},
		{"outage", func(w *world) error { w.net.Outage(6 * time.Second); return nil }, []results.Reason{results.ReasonOutage}},
	}
	for _, test := range tests {
		voided := 0
		for _, at := range []time.Duration{30 * time.Second, 47 * time.Second, 61 * time.Second} {
			t.Run(test.name+" at "+at.String(), func(t *testing.T) {
				nat := natmodel.Linux(30*time.Second, 120*time.Second)
				v := soak(t, simulate.Config{NATs: []natmodel.Config{nat}, Seed: 3}, probe.SoakConfig{Interval: 20 * time.Second},
					func(ctx context.Context, w *world) {
						if sleep(ctx, at) {
							if err := test.strike(w); err != nil {
								w.t.Error(err)
							}
						}
					})
				if v.Verdict != results.Holds || v.Missed > 0 {
					t.Errorf("verdict %s with %d misses, want %s with none; reasons %v", v.Verdict, v.Missed, results.Holds, v.Reasons)
				}
				if !slices.ContainsFunc(v.Events, func(e results.Event) bool { return slices.Contains(test.tells, e.Reason) }) {
					t.Errorf("events %+v; want one of %q", v.Events, test.tells)
				}
				for _, reason := range test.tells {
					voided += v.Reasons[reason]
				}
			})
		}
		if voided == 0 {
			t.Errorf("%s: no sample counts as unknown for it", test.name)
		}
	}
}

// TestSoakInterrupted keeps what it had.
func TestSoakInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simulate.Config{})
		defer w.close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		seen := 0
		s := probe.Soaker{
			Config: probe.SoakConfig{Reflector: reflectorAddr(), Interval: 10 * time.Second},
			Listen: w.net.Client().ListenPacket, Observe: func(v *results.Verification) { seen = v.Reached },
		}
		v, err := s.Soak(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || v == nil || v.Reached == 0 || v.Verdict != results.Undecided {
			t.Fatalf("Soak = %+v, %v; want some samples and the context's error", v, err)
		}
		if seen != v.Reached {
			t.Errorf("the last look saw %d samples, want all %d", seen, v.Reached)
		}
	})
}

func TestSoakConfig(t *testing.T) {
	t.Parallel()
	good := probe.SoakConfig{Reflector: reflectorAddr(), Interval: 25 * time.Second}
	tests := []struct {
		name   string
		change func(*probe.SoakConfig)
		ok     bool
	}{
		{"as it is", func(*probe.SoakConfig) {}, true},
		{"shortest interval", func(c *probe.SoakConfig) { c.Interval = time.Second }, true},
		{"latest", func(c *probe.SoakConfig) { c.Lateness = 2 }, true},
		{"most flows", func(c *probe.SoakConfig) { c.Flows = 125 }, true},
		{"no reflector", func(c *probe.SoakConfig) { c.Reflector = netip.AddrPort{} }, false},
		{"no interval", func(c *probe.SoakConfig) { c.Interval = 0 }, false},
		{"interval too long", func(c *probe.SoakConfig) { c.Interval = time.Hour + 1 }, false},
		{"too long when late", func(c *probe.SoakConfig) { c.Interval, c.Lateness = 50*time.Minute, 1.5 }, false},
		{"early", func(c *probe.SoakConfig) { c.Lateness = 0.9 }, false},
		{"a regime without keepalives", func(c *probe.SoakConfig) { c.Regimes = []results.Regime{results.Solitary} }, false},
		{"regime twice", func(c *probe.SoakConfig) { c.Regimes = []results.Regime{results.Stream, results.Stream} }, false},
		{"target 1", func(c *probe.SoakConfig) { c.Target = 1 }, false},
		{"too few flows", func(c *probe.SoakConfig) { c.Flows = 1 }, false},
		{"too many flows", func(c *probe.SoakConfig) { c.Flows = 126 }, false},
		{"negative budget", func(c *probe.SoakConfig) { c.Budget = -1 }, false},
	}
	for _, test := range tests {
		cfg := good
		test.change(&cfg)
		if err := cfg.Validate(); (err == nil) != test.ok || err != nil && !errors.Is(err, probe.ErrConfig) {
			t.Errorf("%s: Validate = %v, want ok %v", test.name, err, test.ok)
		}
	}
}

// TestSoakUnderPressure: what a NAT dropped because its table was full is no miss, also
// where that shows only later.
func TestSoakUnderPressure(t *testing.T) {
	t.Parallel()
	uncounted := false
	for room := 18; room <= 40; room += 2 {
		nat := natmodel.Linux(12*time.Second, 120*time.Second)
		nat.MaxMappings = room
		v := soak(t, simulate.Config{NATs: []natmodel.Config{nat}}, probe.SoakConfig{Interval: 14 * time.Second, Target: 0.5, Budget: 3 * time.Minute}, nil)
		void := 0
		for _, e := range v.Events {
			var n int
			if _, counts, ok := strings.Cut(e.Detail, "what expired till now ("); ok && e.Reason == results.ReasonPressure {
				if _, err := fmt.Sscanf(counts, "%d", &n); err != nil {
					t.Fatal(err)
				}
			}
			void += n
		}
		t.Logf("room for %d: %s, %d missed, %d unknown, %d expiries void", room, v.Verdict, v.Samples.Missed, v.Samples.Unknown, void)
		if v.Reasons[results.ReasonPressure] < void {
			t.Errorf("room for %d: %d expiries were void, of the samples only %v", room, void, v.Reasons)
		}
		uncounted = uncounted || v.Samples.Missed < void
	}
	if !uncounted {
		t.Error("each expiry that was void for pressure still counts as a miss, or there was none")
	}
}
