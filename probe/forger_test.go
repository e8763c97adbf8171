package probe_test

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// forger is somebody who sends to the reflector in the name of flows that are
// silent, or about to be. The answers go to the flows, and refresh their mappings.
type forger struct {
	net.PacketConn
	random *rand.Rand
	share  float64 // of the orders whose flows it does that to
	due    []forgery
	sent   int
}

// forgery is one such packet.
type forgery struct {
	at      time.Time
	from    net.Addr
	payload []byte
}

// ReadFrom returns what is due, else what the network brings: queries come often
// enough to be soon after.
func (f *forger) ReadFrom(b []byte) (int, net.Addr, error) {
	if i := slices.IndexFunc(f.due, func(d forgery) bool { return !time.Now().Before(d.at) }); i >= 0 {
		d := f.due[i]
		f.due = slices.Delete(f.due, i, i+1)
		f.sent++
		return copy(b, d.payload), d.from, nil
	}
	n, from, err := f.PacketConn.ReadFrom(b)
	if err != nil {
		return n, from, err
	}
	if r, _ := wire.ParseRequest(b[:n]); r != nil && f.random.Float64() < f.share {
		if o, ok := r.(wire.Order); ok {
			within := max(o.Delay, 500*time.Millisecond) // that is what parts the two packets of a oneway flow
			at := time.Now().Add(time.Duration(f.random.Int64N(int64(within))))
			f.due = append(f.due, forgery{at, from, f.payload()})
		}
	}
	return n, from, nil
}

// payload is a message of any kind, without a token that is any good.
func (f *forger) payload() []byte {
	id := wire.NewID()
	switch f.random.IntN(5) {
	case 0:
		return wire.Binding{ID: id}.Encode()
	case 1:
		return wire.Hello{ID: id}.Encode()
	case 2:
		return wire.Check{ID: id}.Encode()
	case 3:
		return wire.Query{ID: id, Session: wire.NewSessionID(), Token: wire.Token{1}, Seq: 1, Size: 500}.Encode()
	default:
		return wire.Order{ID: id, Session: wire.NewSessionID(), Tokens: []wire.Token{{1}}, Delay: time.Second, Copies: 1, Size: 500}.Encode()
	}
}

// TestAnswersNobodyAskedFor: what others send in this side's name makes the
// reflector answer into the silence of flows. That must not look like a long life.
func TestAnswersNobodyAskedFor(t *testing.T) {
	seeds(t, 20, func(t *testing.T, seed uint64, rng *rand.Rand) {
		nat := natmodel.Linux(time.Duration(3+rng.IntN(10))*time.Second, time.Duration(15+rng.IntN(20))*time.Second)
		inNetwork(t, simulate.Config{NATs: []natmodel.Config{nat}, Seed: seed}, func(t *testing.T, n *simulate.Network) {
			var f *forger
			stop := serveBehind(t, n, reflectorAddr(), reflector.Config{}, func(conn net.PacketConn) net.PacketConn {
				f = &forger{PacketConn: conn, random: rng, share: 0.3}
				return f
			})
			defer stop()
			p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr(), Max: time.Minute}, Listen: n.Client().ListenPacket}
			r, err := p.Measure(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if err := check(r, truthOf(nat.Timers)); err != nil {
				t.Error(err)
			}
			if !r.Complete {
				t.Error("the run is not complete")
			}
			strays := 0
			for _, trial := range r.Trials {
				if trial.Reason == results.ReasonStray {
					strays++
				}
			}
			if strays == 0 || f.sent < strays {
				t.Errorf("%d packets were forged, and %d trials were void for strays: this test shows nothing", f.sent, strays)
			}
		})
	})
}
