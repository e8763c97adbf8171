package probe_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
)

// doorman stands before a reflector: it turns the first hellos away, as if others
// had used up the address's packets, and counts what comes with a token and without.
type doorman struct {
	net.PacketConn
	turns         int
	turned        int
	with, without atomic.Int32 // hellos and checks, but for those turned away
}

func (d *doorman) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		var token wire.Token
		switch r, _ := wire.ParseRequest(b[:n]); r := r.(type) {
		case wire.Hello:
			if d.turned < d.turns {
				d.turned++
				refusal := wire.Refusal{ID: r.ID, Kind: wire.KindHello, Code: wire.CodeQuota, Limit: wire.LimitRate, Value: 400}
				if _, err := d.WriteTo(refusal.Encode(), from); err != nil {
					return 0, nil, err
				}
				continue
			}
			token = r.Token
		case wire.Check:
			token = r.Token
		default:
			return n, from, nil
		}
		if token == (wire.Token{}) {
			d.without.Add(1)
		} else {
			d.with.Add(1)
		}
		return n, from, nil
	}
}

// measureBehind measures a reflector behind a doorman.
func measureBehind(t *testing.T, n *simulate.Network, d *doorman) error {
	t.Helper()
	stop := serveBehind(t, n, reflectorAddr(), reflector.Config{}, func(conn net.PacketConn) net.PacketConn {
		d.PacketConn = conn
		return d
	})
	defer stop()
	p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr(), Max: 20 * time.Second}, Listen: n.Client().ListenPacket}
	r, err := p.Measure(context.Background())
	if err == nil {
		err = check(r, truthOf(natmodel.Linux(6*time.Second, 12*time.Second).Timers))
		if !r.Complete {
			t.Error("the run is not complete")
		}
	}
	return err
}

// TestTurnedAway: a prober whose first hellos are refused, as packets in its name have
// used up its address's rate, tries again, and tells in the end what it was.
func TestTurnedAway(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		if err := measureBehind(t, n, &doorman{turns: 5}); err != nil {
			t.Errorf("five hellos were turned away: %v", err)
		}
	})
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		err := measureBehind(t, n, &doorman{turns: 1000})
		if !errors.Is(err, probe.ErrRefused) || !strings.Contains(err.Error(), "takes no more packets from your address") {
			t.Errorf("all hellos were turned away: %v", err)
		}
	})
}

// TestTokensGoAlong: but for the first hello, all that a prober sends has a token, so
// that what others forge in its name doesn't use up its rate.
func TestTokensGoAlong(t *testing.T) {
	inBubble(t, func(t *testing.T, n *simulate.Network) {
		var d doorman
		if err := measureBehind(t, n, &d); err != nil {
			t.Error(err)
		}
		if with, without := d.with.Load(), d.without.Load(); without != 1 || with < 100 {
			t.Errorf("%d hellos and checks came with a token and %d without, want one without", with, without)
		}
	})
}

// flaky loses the first packet of a socket and can't send the second.
type flaky struct {
	net.PacketConn
	sent int
}

func (f *flaky) WriteTo(b []byte, to net.Addr) (int, error) {
	switch f.sent++; f.sent {
	case 1:
		return len(b), nil
	case 2:
		return 0, syscall.ENETUNREACH
	default:
		return f.PacketConn.WriteTo(b, to)
	}
}

// TestLinkDownAtTheStart: a network that goes away for a moment between the first
// hello and its answer ends nothing; one that isn't there does, at once.
func TestLinkDownAtTheStart(t *testing.T) {
	for sent, fails := range []bool{false, true} {
		inBubble(t, func(t *testing.T, n *simulate.Network) {
			stop := serve(t, n, reflectorAddr(), reflector.Config{})
			defer stop()
			first := true
			p := probe.Prober{Config: probe.Config{Reflector: reflectorAddr(), Max: 20 * time.Second}}
			p.Listen = func(ctx context.Context, network, address string) (net.PacketConn, error) {
				conn, err := n.Client().ListenPacket(ctx, network, address)
				if err == nil && first {
					first = false
					return &flaky{conn, sent}, nil
				}
				return conn, err
			}
			began := time.Now()
			r, err := p.Measure(context.Background())
			if fails {
				if !errors.Is(err, probe.ErrUnreachable) || !errors.Is(err, syscall.ENETUNREACH) || time.Since(began) > 0 {
					t.Errorf("without a network: %v after %v", err, time.Since(began))
				}
				return
			}
			if err != nil || !r.Complete {
				t.Errorf("with one that went away: %v, complete %v", err, r != nil && r.Complete)
			}
		})
	}
}
