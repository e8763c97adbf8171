package reflector

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/reflector/wire"
)

// rig is a served reflector with one or more sockets in a bubble.
type rig struct {
	t         *testing.T
	reflector *Reflector
	conns     []*memConn

	mu       sync.Mutex
	captured [][]memPacket // by socket
}

// newRig serves a reflector until the test ends. It must run in a bubble.
func newRig(t *testing.T, cfg Config, locals ...string) *rig {
	t.Helper()
	reflector, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, reflector: reflector, captured: make([][]memPacket, len(locals))}
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	for i, local := range locals {
		conn := newMemConn(local, func(p memPacket) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.captured[i] = append(g.captured[i], p)
		})
		g.conns = append(g.conns, conn)
		serving.Go(func() {
			if err := reflector.Serve(ctx, conn); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		serving.Wait()
	})
	synctest.Wait()
	return g
}

// take returns what socket i sent since it was last asked.
func (g *rig) take(i int) []memPacket {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	packets := g.captured[i]
	g.captured[i] = nil
	return packets
}

// ask sends a request to socket i and returns the one answer, or nil.
func (g *rig) ask(i int, from netip.AddrPort, payload []byte) wire.Reply {
	g.t.Helper()
	g.conns[i].put(from, payload)
	packets := g.take(i)
	switch {
	case len(packets) == 0:
		return nil
	case len(packets) > 1:
		g.t.Fatalf("%d answers to one request", len(packets))
	case packets[0].peer != from:
		g.t.Fatalf("the answer went to %v, want %v", packets[0].peer, from)
	}
	return parse(g.t, packets[0].payload)
}

// token asks for a token for an address.
func (g *rig) token(i int, from netip.AddrPort) wire.Token {
	g.t.Helper()
	r, ok := g.ask(i, from, wire.Hello{ID: wire.NewID()}.Encode()).(wire.HelloReply)
	if !ok {
		g.t.Fatalf("no answer to a hello from %v", from)
	}
	return r.Token
}

// query sends a query that must be answered.
func (g *rig) query(i int, from netip.AddrPort, q wire.Query) wire.QueryReply {
	g.t.Helper()
	q.ID = wire.NewID()
	got := g.ask(i, from, q.Encode())
	r, ok := got.(wire.QueryReply)
	if !ok {
		g.t.Fatalf("query answered with %#v", got)
	}
	return r
}

// after lets fake time pass.
func after(d time.Duration) { <-time.After(d) }

// byValue compares addresses with ==, as their fields are their own business.
var byValue = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

var (
	home    = netip.MustParseAddrPort("198.51.100.7:40000")
	flow    = netip.MustParseAddrPort("198.51.100.7:40001")
	serverA = "192.0.2.1:3478"
	serverB = "192.0.2.2:3478"
)

// TestBurst is the reflector's job from hello to receipt.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		token := g.token(0, home)
		session := wire.NewSessionID()
		first := g.query(0, home, wire.Query{Session: session, Token: token, Seq: 1})
		if first.Mapped != home || first.Received != 1 || first.Seq != 1 {
			t.Errorf("query reply = %+v, want mapped %v, seq 1, received 1", first, home)
		}

		order := wire.Order{
			ID: wire.NewID(), Session: session, Tokens: []wire.Token{token},
			Delay: 30 * time.Second, Spread: 400 * time.Millisecond, Copies: 3,
			Size: wire.OrderSize(3, true, false),
		}
		if r := g.ask(0, flow, order.Encode()); r != nil {
			t.Fatalf("an accepted order was answered with %#v", r)
		}
		pending := g.query(0, home, wire.Query{Session: session, Token: token, Seq: 2, Orders: []wire.ID{order.ID}})
		want := []wire.Receipt{{ID: order.ID, State: wire.StatePending, From: flow}}
		if diff := cmp.Diff(want, pending.Receipts, byValue); diff != "" {
			t.Errorf("receipts before the burst (-want +got):\n%s", diff)
		}

		start := time.Now()
		after(31 * time.Second)
		gaps := []time.Duration{30 * time.Second, 30*time.Second + 200*time.Millisecond, 30*time.Second + 400*time.Millisecond}
		packets := g.take(0)
		if len(packets) != 6 {
			t.Fatalf("%d packets left, want 3 copies and 3 beacons", len(packets))
		}
		for i, gap := range gaps {
			c := wire.Copy{ID: order.ID, Index: i, Of: 3, Gap: gap}
			burst, beacon := packets[2*i], packets[2*i+1]
			if diff := cmp.Diff(wire.Reply(wire.Burst{Copy: c}), parse(t, burst.payload)); diff != "" || burst.peer != flow {
				t.Errorf("copy %d to %v (-want +got):\n%s", i, burst.peer, diff)
			}
			if diff := cmp.Diff(wire.Reply(wire.Beacon{Copy: c}), parse(t, beacon.payload)); diff != "" || beacon.peer != home {
				t.Errorf("beacon %d to %v (-want +got):\n%s", i, beacon.peer, diff)
			}
			if left := burst.at.Sub(start); left != gap {
				t.Errorf("copy %d left after %v, want %v", i, left, gap)
			}
		}

		sent := g.query(0, home, wire.Query{Session: session, Token: token, Seq: 3, Orders: []wire.ID{order.ID, wire.NewID()}})
		want = []wire.Receipt{{ID: order.ID, State: wire.StateSent, From: flow, Gaps: gaps}, {State: wire.StateUnknown}}
		want[1].ID = sent.Receipts[1].ID
		if diff := cmp.Diff(want, sent.Receipts, byValue); diff != "" {
			t.Errorf("receipts after the burst (-want +got):\n%s", diff)
		}
	})
}
