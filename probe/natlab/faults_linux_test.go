package natlab

import (
	"math"
	"net"
	"testing"
	"time"
)

// TestLossRate checks the share lost in each direction, alone and together,
// within five standard deviations.
func TestLossRate(t *testing.T) {
	t.Parallel()
	const packets, batch = 2000, 50
	for _, test := range []struct {
		name    string
		spec    Spec
		out, in float64
	}{
		{"none", Spec{NATs: []NATSpec{{}}}, 0, 0},
		{"out", Spec{NATs: []NATSpec{{}}}, 0.1, 0},
		{"in", Spec{NATs: []NATSpec{{}, {}}}, 0, 0.3},
		{"both", Spec{NATs: []NATSpec{{None: true}}}, 0.02, 0.2},
		{"no NAT", Spec{}, 0.5, 0.1},
		{"IPv6", Spec{Family: IPv6, NATs: []NATSpec{{None: true}}}, 0.1, 0.1},
		{"everything", Spec{NATs: []NATSpec{{}}}, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, test.spec)
			f := n.flow()
			f.roundTrip()
			if err := n.SetLoss(test.out, test.in); err != nil {
				t.Fatal(err)
			}
			for _, way := range []struct {
				name     string
				loss     float64
				from, to net.PacketConn
				dst      net.Addr
			}{
				{"outbound", test.out, f.conn, n.server, n.server.LocalAddr()},
				{"inbound", test.in, n.server, f.conn, f.external},
			} {
				arrived := 0
				for range packets / batch {
					for range batch {
						// A lost packet must not show as an error.
						if _, err := way.from.WriteTo([]byte("x"), way.dst); err != nil {
							t.Fatalf("%s: %v", way.name, err)
						}
					}
					arrived += drain(t, way.to)
				}
				lost := packets - arrived
				want := way.loss * packets
				if spread := 5 * math.Sqrt(want*(1-way.loss)); math.Abs(float64(lost)-want) > spread {
					t.Errorf("%s: %d of %d lost, want %.0f ± %.0f", way.name, lost, packets, want, spread)
				}
			}
			if err := n.SetLoss(0, 0); err != nil {
				t.Fatal(err)
			}
			for range 50 {
				f.roundTrip()
			}
		})
	}
}

// drain counts the packets that have arrived.
func drain(t *testing.T, conn net.PacketConn) int {
	t.Helper()
	for n := 0; ; n++ {
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := read(conn); err != nil {
			return n
		}
	}
}

// TestLossIsOutside checks where packets are lost: an outbound one after it
// refreshed the mapping, an inbound one before.
func TestLossIsOutside(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		out, in float64
		refresh func(*flow)
		want    bool // alive later
	}{
		{"outbound", 1, 0, func(f *flow) { f.send() }, true},
		{"inbound", 0, 1, func(f *flow) { f.n.reply(f.external) }, false},
		{"inbound, not lost", 0, 0, func(f *flow) { f.n.reply(f.external); f.n.receive(f.conn) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, Spec{NATs: []NATSpec{{Solitary: 3 * time.Second}}})
			f := n.flow()
			f.request()
			wait(t, 1500*time.Millisecond)
			if err := n.SetLoss(test.out, test.in); err != nil {
				t.Fatal(err)
			}
			test.refresh(f)
			if err := n.SetLoss(0, 0); err != nil {
				t.Fatal(err)
			}
			wait(t, 1700*time.Millisecond)
			if got := f.reaches(); got != test.want {
				t.Errorf("mapping alive: %v, want %v", got, test.want)
			}
		})
	}
}

func TestFlushConntrack(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}, {Strict: true}}})
	for i := range n.Spec().NATs {
		f := n.flow()
		f.roundTrip()
		if !f.reaches() {
			t.Fatal("the mapping doesn't work")
		}
		if err := n.FlushConntrack(i); err != nil {
			t.Fatal(err)
		}
		if f.reaches() {
			t.Errorf("NAT %d: the mapping outlived the flush", i)
		}
		f.roundTrip()
	}
}

func TestSetTimers(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}})
	old := n.flow()
	old.request()
	if err := n.SetTimers(0, shortBox.Solitary, shortBox.Stream); err != nil {
		t.Fatal(err)
	}
	checkLifetime(n, shortBox.Solitary, shortBox.Solitary+100*time.Millisecond, func(f *flow) { f.request() })
	if !old.reaches() {
		t.Error("a mapping from before lost its timer without a packet")
	}
}

func TestSetLink(t *testing.T) {
	t.Parallel()
	for _, spec := range []Spec{
		{Name: "NAT", NATs: []NATSpec{{}}},
		{Name: "open"},
		{Name: "IPv6", Family: IPv6, NATs: []NATSpec{{None: true}}},
	} {
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			n := openNetwork(t, spec)
			f := n.flow()
			f.roundTrip()
			if err := n.SetLink(false); err != nil {
				t.Fatal(err)
			}
			if _, err := f.conn.WriteTo([]byte("x"), n.server.LocalAddr()); err == nil {
				t.Error("sending over a link that is off gave no error")
			}
			n.reply(f.external)
			if got := drain(t, f.conn); got != 0 {
				t.Errorf("%d packets came over a link that is off", got)
			}
			if err := n.SetLink(true); err != nil {
				t.Fatal(err)
			}
			f.n.control.roundTrip()
			n.reply(f.external)
			n.receive(f.conn)
			f.roundTrip()
		})
	}
}

func TestBadFaults(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}})
	for name, err := range map[string]error{
		"flush of NAT 1":   n.FlushConntrack(1),
		"flush of NAT -1":  n.FlushConntrack(-1),
		"timers of NAT 1":  n.SetTimers(1, 0, 0),
		"half a second":    n.SetTimers(0, time.Second/2, 0),
		"loss above 1":     n.SetLoss(0, 1.5),
		"loss not a value": n.SetLoss(math.NaN(), 0),
	} {
		if err == nil {
			t.Errorf("%s gave no error", name)
		}
	}
}
