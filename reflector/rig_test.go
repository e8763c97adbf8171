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
	g := unservedRig(t, cfg, locals...)
	for _, conn := range g.conns {
		g.serve(func(ctx context.Context) error { return g.reflector.Serve(ctx, conn) })
	}
	return g
}

// unservedRig is a rig whose sockets nobody serves yet.
func unservedRig(t *testing.T, cfg Config, locals ...string) *rig {
	t.Helper()
	reflector, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, reflector: reflector, captured: make([][]memPacket, len(locals))}
	for i, local := range locals {
		g.conns = append(g.conns, newMemConn(local, func(p memPacket) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.captured[i] = append(g.captured[i], p)
		}))
	}
	return g
}

// serve runs what serves sockets until the test ends.
func (g *rig) serve(run func(context.Context) error) {
	ctx, stop := context.WithCancel(g.t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	g.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			g.t.Errorf("Serve: %v", err)
		}
	})
	synctest.Wait()
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
	case len(packets[0].payload) > len(payload):
		g.t.Fatalf("%d bytes were answered with %d", len(payload), len(packets[0].payload))
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

// client is a prober's control flow.
type client struct {
	g       *rig
	socket  int
	addr    netip.AddrPort
	token   wire.Token
	session wire.SessionID
	seq     uint32
}

// client makes a session.
func (g *rig) client(socket int, addr netip.AddrPort) *client {
	g.t.Helper()
	c := &client{g: g, socket: socket, addr: addr, token: g.token(socket, addr), session: wire.NewSessionID()}
	c.query()
	return c
}

// query asks for orders.
func (c *client) query(orders ...wire.ID) wire.QueryReply {
	c.g.t.Helper()
	c.seq++
	return c.g.query(c.socket, c.addr, wire.Query{Session: c.session, Token: c.token, Seq: c.seq, Orders: orders})
}

// order returns an order that pays for itself.
func (c *client) order(delay time.Duration, copies int) wire.Order {
	return wire.Order{
		ID: wire.NewID(), Session: c.session, Tokens: []wire.Token{c.token},
		Delay: delay, Copies: copies, Size: wire.OrderSize(copies, true, c.addr.Addr().Is6()),
	}
}

// place sends an order that must be accepted.
func (c *client) place(from netip.AddrPort, o wire.Order) wire.Order {
	c.g.t.Helper()
	if r := c.g.ask(c.socket, from, o.Encode()); r != nil {
		c.g.t.Fatalf("order from %v answered with %#v", from, r)
	}
	return o
}

// refused sends a request that must be refused.
func (g *rig) refused(socket int, from netip.AddrPort, request []byte) wire.Refusal {
	g.t.Helper()
	got := g.ask(socket, from, request)
	r, ok := got.(wire.Refusal)
	if !ok {
		g.t.Fatalf("request from %v answered with %#v, want a refusal", from, got)
	}
	return r
}
