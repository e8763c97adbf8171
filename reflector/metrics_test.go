package reflector

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/natprobe/natprobe/reflector/wire"
)

// TestMetrics: the metrics are named as Prometheus wants it, none is counted
// twice, and every datagram is in one row of the requests.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{PPS: 100}}, serverA)
		c := g.client(0, home)
		o := c.place(flow, c.order(time.Second, 3))
		c.place(flow, o)
		g.refused(0, flow, c.order(time.Hour, 3).Encode())
		g.plain(0, home, with(t, true))
		g.plain(0, home, with(t, true, changeRequest(1)))
		g.ask(0, home, wire.Check{ID: wire.NewID()}.Encode())
		g.ask(0, home, undersized(t, wire.Hello{ID: wire.NewID()}.Encode()))
		g.ask(0, home, []byte("no STUN"))
		broken := wire.Hello{ID: wire.NewID()}.Encode()
		broken[24] = 9 // a version that isn't there
		g.ask(0, home, broken)
		unknown := append(bytes.Clone(wire.Hello{ID: wire.NewID()}.Encode()), 0, 3, 0, 4, 0, 0, 0, 6)
		unknown[3] += 8
		g.ask(0, home, unknown)
		for i := range 500 { // above the rate of a network
			g.plain(0, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 1), with(t, false))
		}
		for range 300 { // above the rate of an address
			g.conns[0].put(sender(7, 7, 1), wire.Hello{ID: wire.NewID()}.Encode())
		}
		after(2 * time.Second)
		g.take(0)

		collector := NewCollector(g.reflector)
		problems, err := testutil.CollectAndLint(collector)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(collector)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		requests, zero := 0.0, make(map[string]bool)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				name := family.GetName()
				for _, label := range m.GetLabel() {
					name += " " + label.GetValue()
				}
				value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				if value < 0 || value > 1e6 {
					t.Errorf("%s is %v", name, value)
				}
				zero[name] = value == 0
				if family.GetName() == namespace+"_requests_total" {
					requests += value
				}
			}
		}
		if s := g.reflector.Stats(); requests != float64(s.Received) {
			t.Errorf("%v requests by kind and result, %d datagrams came in", requests, s.Received)
		}
		for _, name := range []string{
			"requests_total foreign dropped", "requests_total malformed refused", "requests_total plain answered", "requests_total plain refused",
			"requests_total plain dropped", "requests_total order accepted", "requests_total order duplicate", "requests_total order refused",
			"requests_total hello answered", "requests_total hello refused", "requests_total check answered", "requests_total query answered",
			"requests_total unknown refused", "limit_refusals_total delay", "limit_refusals_total plain rate", "limit_refusals_total packet rate", "burst_copies_total sent", "beacons_total sent", "burst_lateness_seconds",
			"received_bytes_total", "sent_bytes_total", "orders_remembered", "sessions", "orders_limit", "sessions_limit",
		} {
			if isZero, there := zero[namespace+"_"+name]; !there || isZero {
				t.Errorf("%s counts nothing (there: %v)", name, there)
			}
		}
		for name := range zero {
			if strings.Contains(name, home.Addr().String()) {
				t.Errorf("%s tells a client's address", name)
			}
		}
	})
}
