package probe_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// wrongClock makes a reflector wait, and tell gaps, by a clock that runs at another
// rate.
type wrongClock struct {
	net.PacketConn
	rate float64
}

func (c *wrongClock) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.PacketConn.ReadFrom(b)
	if err != nil {
		return n, from, err
	}
	if r, _ := wire.ParseRequest(b[:n]); r != nil {
		if o, ok := r.(wire.Order); ok {
			wait := func(d time.Duration) time.Duration { return time.Duration(float64(d)/c.rate) + time.Millisecond } // never too soon
			o.Delay, o.Spread, o.Size = wait(o.Delay), wait(o.Spread), n
			n = copy(b, o.Encode())
		}
	}
	return n, from, nil
}

func (c *wrongClock) WriteTo(b []byte, to net.Addr) (int, error) {
	tell := func(gap time.Duration) time.Duration {
		if gap == wire.NotSent {
			return gap
		}
		return time.Duration(float64(gap) * c.rate).Round(time.Microsecond)
	}
	payload := b
	switch r, _ := wire.ParseReply(b); r := r.(type) {
	case wire.Burst:
		r.Gap = tell(r.Gap)
		payload = r.Encode()
	case wire.Beacon:
		r.Gap = tell(r.Gap)
		payload = r.Encode()
	case wire.QueryReply:
		for i := range r.Receipts {
			for j, gap := range r.Receipts[i].Gaps {
				r.Receipts[i].Gaps[j] = tell(gap)
			}
		}
		payload = r.Encode()
	}
	if _, err := c.PacketConn.WriteTo(payload, to); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestReflectorsClock: a reflector whose clock is set right step by step, or whose
// virtual machine is stopped now and then, tells wrong gaps. Brackets allow for it.
func TestReflectorsClock(t *testing.T) {
	for _, rate := range []float64{0.9, 0.97, 1, 1.03, 1.1} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			seeds(t, 6, func(t *testing.T, seed uint64, rng *rand.Rand) {
				nat := natmodel.Linux(time.Duration(5+rng.IntN(20))*time.Second, time.Duration(20+rng.IntN(40))*time.Second)
				inNetwork(t, simulate.Config{NATs: []natmodel.Config{nat}, Inside: 50 * time.Millisecond, Seed: seed}, func(t *testing.T, n *simulate.Network) {
					stop := serveBehind(t, n, reflectorAddr(), reflector.Config{}, func(conn net.PacketConn) net.PacketConn { return &wrongClock{conn, rate} })
					defer stop()
					p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr(), Max: 2 * time.Minute}, Listen: n.Client().ListenPacket}
					r, err := p.Measure(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					if err := check(r, truthOf(nat.Timers)); err != nil {
						t.Error(err)
					}
					if !r.Complete && rate >= 1 { // what a slow one sends comes after the check
						t.Error("the run is not complete")
					}
				})
			})
		})
	}
}

// TestEgressClock: what is asked of a reflector's own side is asked by its clock, which
// no crystal keeps exactly as the checker's.
func TestEgressClock(t *testing.T) {
	inNetwork(t, simulate.Config{Client: client}, func(t *testing.T, n *simulate.Network) {
		stop := serveBehind(t, n, reflectorAddr(), reflector.Config{}, func(conn net.PacketConn) net.PacketConn { return &wrongClock{conn, 1.0003} })
		defer stop()
		c := probe.EgressChecker{Listen: n.Client().ListenPacket, Config: probe.EgressConfig{Reflector: reflectorAddr(), Local: client, MaxGap: time.Minute}}
		report, err := c.Check(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Egress; got.Verdict != results.EgressProven || got.ProvenS != 60 {
			t.Errorf("%+v, want 60 s proven", got)
		}
	})
}
