package reflector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/reflector/wire"
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

// TestOrderOfNoCopies opens a mapping in silence: its receipt is complete at
// once and nothing else ever comes. As long as that is remembered it counts as
// one of the address's pending orders.
func TestOrderOfNoCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{Pending: 5}}, serverA)
		token := g.token(0, home)
		session := wire.NewSessionID()
		g.query(0, home, wire.Query{Session: session, Token: token, Seq: 1})
		var ids []wire.ID
		for range 5 {
			order := wire.Order{ID: wire.NewID(), Session: session, Tokens: []wire.Token{token}}
			if r := g.ask(0, flow, order.Encode()); r != nil {
				t.Fatalf("an accepted order was answered with %#v", r)
			}
			ids = append(ids, order.ID)
		}
		sixth := wire.Order{ID: wire.NewID(), Session: session, Tokens: []wire.Token{token}}
		if r := g.refused(0, flow, sixth.Encode()); r.Limit != wire.LimitPending {
			t.Errorf("the sixth order was refused for %v, want pending orders", r.Limit)
		}
		reply := g.query(0, home, wire.Query{Session: session, Token: token, Seq: 2, Orders: ids})
		for i, got := range reply.Receipts {
			if diff := cmp.Diff(wire.Receipt{ID: ids[i], State: wire.StateSent, From: flow}, got, byValue); diff != "" {
				t.Errorf("receipt (-want +got):\n%s", diff)
			}
		}
		after(time.Second)
		if packets := g.take(0); len(packets) != 0 {
			t.Errorf("%d packets left, want none", len(packets))
		}
		after(receiptLifetime)
		reply = g.query(0, home, wire.Query{Session: session, Token: token, Seq: 3, Orders: ids[:1]})
		if got := reply.Receipts[0].State; got != wire.StateUnknown {
			t.Errorf("state %d after a receipt's lifetime, want unknown", got)
		}
		if r := g.ask(0, flow, sixth.Encode()); r != nil {
			t.Errorf("with the others forgotten the sixth order was answered with %#v", r)
		}
		if r := g.refused(0, flow, wire.Order{ID: wire.NewID(), Session: session, Tokens: []wire.Token{{}}}.Encode()); r.Code != wire.CodeStaleToken {
			t.Errorf("without a token: %v", r.Code)
		}
	})
}

// TestSeveralSockets: a burst leaves through the socket that its order came to,
// beacons through the control flow's.
func TestSeveralSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA, serverB)
		c := g.client(0, home)
		o := c.order(5*time.Second, 2)
		if r := g.ask(1, flow, o.Encode()); r != nil {
			t.Fatalf("order answered with %#v", r)
		}
		after(6 * time.Second)
		for i, want := range []string{"wire.Beacon", "wire.Burst"} {
			packets := g.take(i)
			if len(packets) != 2 {
				t.Fatalf("socket %d sent %d packets, want 2", i, len(packets))
			}
			for _, p := range packets {
				if got := fmt.Sprintf("%T", parse(t, p.payload)); got != want {
					t.Errorf("socket %d sent a %s, want a %s", i, got, want)
				}
			}
		}
	})
}

// TestEarlierOrder: an order that is due before all others wakes the departures.
func TestEarlierOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		start := time.Now()
		var want, got []time.Duration
		for _, delay := range []time.Duration{40 * time.Second, 20 * time.Second, 30 * time.Second, 20 * time.Second, 0} {
			c.g.conns[0].put(flow, c.order(delay, 1).Encode())
		}
		want = []time.Duration{0, 20 * time.Second, 20 * time.Second, 30 * time.Second, 40 * time.Second}
		after(time.Minute)
		for _, p := range g.take(0) {
			if _, ok := parse(t, p.payload).(wire.Burst); ok {
				got = append(got, p.at.Sub(start))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("departures (-want +got):\n%s", diff)
		}
	})
}

// serve runs Serve in the bubble and returns how it ended.
func serve(ctx context.Context, r *Reflector, conn net.PacketConn) <-chan error {
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, conn) }()
	synctest.Wait()
	return done
}

// TestShutdown: Serve ends without an error, gives the socket back as it was,
// and sends nothing more; the other socket goes on.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		var late []memPacket
		lent := newMemConn(serverB, func(p memPacket) { late = append(late, p) })
		ctx, stop := context.WithCancel(t.Context())
		done := serve(ctx, g.reflector, lent)

		c := g.client(0, home)
		o := c.order(10*time.Second, 3)
		lent.put(flow, o.Encode())
		synctest.Wait()
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if got := lent.readDeadline(); !got.IsZero() {
			t.Errorf("the socket was left with the read deadline %v", got)
		}
		after(30 * time.Second)
		if len(late) != 0 || len(g.take(0)) != 0 {
			t.Errorf("packets left after the end of Serve: %v", late)
		}
		got := c.query(o.ID).Receipts
		want := []wire.Receipt{{ID: o.ID, State: wire.StateSent, From: flow, Gaps: []time.Duration{wire.NotSent, wire.NotSent, wire.NotSent}}}
		if diff := cmp.Diff(want, got, byValue); diff != "" {
			t.Errorf("receipt of a dropped burst (-want +got):\n%s", diff)
		}
		if s := g.reflector.Stats(); s.Pending != 0 || s.CopiesFailed != 3 {
			t.Errorf("stats = %+v, want nothing pending and 3 copies failed", s)
		}
	})
}

// TestControlSocketGone: where the control flow's socket is served no more, its
// beacons stay away and the burst leaves.
func TestControlSocketGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		answers := 0
		lent := newMemConn(serverB, func(memPacket) { answers++ })
		ctx, stop := context.WithCancel(t.Context())
		done := serve(ctx, g.reflector, lent)
		token, session := g.token(0, home), wire.NewSessionID()
		lent.put(home, wire.Query{ID: wire.NewID(), Session: session, Token: token, Seq: 1}.Encode())
		synctest.Wait()
		o := wire.Order{ID: wire.NewID(), Session: session, Tokens: []wire.Token{token}, Delay: time.Second, Copies: 2, Size: 400}
		if r := g.ask(0, flow, o.Encode()); r != nil {
			t.Fatalf("order answered with %#v", r)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		after(2 * time.Second)
		if left := len(g.take(0)); left != 2 || answers != 1 {
			t.Errorf("%d copies and %d answers left, want 2 and 1", left, answers)
		}
		if s := g.reflector.Stats(); s.BeaconsUnpaid != 2 {
			t.Errorf("%d beacons were left out, want 2", s.BeaconsUnpaid)
		}
	})
}

func TestClosedSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		conn := newMemConn(serverA, func(memPacket) {})
		done := serve(t.Context(), r, conn)
		conn.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve = %v, want net.ErrClosed", err)
		}

		ctx, stop := context.WithCancel(t.Context())
		conn = newMemConn(serverA, func(memPacket) {})
		done = serve(ctx, r, conn)
		stop()
		conn.Close()
		if err := <-done; err != nil {
			t.Errorf("closed after the end of ctx: Serve = %v, want nil", err)
		}
	})
}

// flakyConn fails its first reads.
type flakyConn struct {
	*memConn
	failures int
}

var errFlaky = errors.New("a peer's ICMP error")

func (c *flakyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.failures > 0 {
		c.failures--
		return 0, nil, errFlaky
	}
	return c.memConn.ReadFrom(b)
}

// TestReadErrors: a few don't end Serve, an endless row of them does.
func TestReadErrors(t *testing.T) {
	for failures, want := range map[int]error{readFailures - 1: nil, readFailures: errFlaky} {
		synctest.Test(t, func(t *testing.T) {
			r, err := New(Config{})
			if err != nil {
				t.Fatal(err)
			}
			answers := 0
			conn := &flakyConn{newMemConn(serverA, func(memPacket) { answers++ }), failures}
			conn.put(home, wire.Check{ID: wire.NewID()}.Encode())
			ctx, stop := context.WithCancel(t.Context())
			done := serve(ctx, r, conn)
			after(10 * time.Minute)
			stop()
			if err := <-done; !errors.Is(err, want) {
				t.Errorf("after %d failures: Serve = %v, want %v", failures, err, want)
			}
			if answered := answers == 1; answered != (want == nil) {
				t.Errorf("after %d failures: %d answers", failures, answers)
			}
		})
	}
}

// TestWriteErrors: a copy that the socket refuses is told as not sent, and has
// no beacon, which would say that it left.
func TestWriteErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		o := c.order(time.Second, 2)
		o.Spread = time.Second
		c.place(flow, o)
		g.conns[0].refuse(errors.New("no route"))
		after(1500 * time.Millisecond)
		g.conns[0].refuse(nil)
		after(time.Second)
		if left := len(g.take(0)); left != 2 {
			t.Errorf("%d packets left, want the second copy and its beacon", left)
		}
		want := []time.Duration{wire.NotSent, 2 * time.Second}
		if diff := cmp.Diff(want, c.query(o.ID).Receipts[0].Gaps); diff != "" {
			t.Errorf("gaps (-want +got):\n%s", diff)
		}
	})
}

// TestStall: what was due long ago stays, so that it can't leave all at once.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		o := c.order(0, 2)
		o.Delay, o.Spread = 10*time.Second, time.Second
		p := newPort(g.conns[0])
		now := time.Now()
		core := g.reflector.core
		p.due, p.alarm = newWheel(core.book), newTimerAlarm()
		if reply := g.reflector.natprobe(now, p, &packet{way: way{peer: flow}, data: o.Encode()}); reply != nil {
			t.Fatalf("order answered with %#v", parse(t, reply))
		}
		g.reflector.mu.Lock()
		defer g.reflector.mu.Unlock()
		late := now.Add(11*time.Second + maxLateness)
		d, ok := core.depart(late, p)
		if !ok || d.copy.Index != 1 {
			t.Fatalf("depart = %+v, %v, want the second copy", d, ok)
		}
		d.copy.Gap, d.left = 12*time.Second, true
		core.departed(late, &d)
		want := []time.Duration{wire.NotSent, 12 * time.Second}
		if diff := cmp.Diff(want, core.book.at(d.ref).receipt(o.ID).Gaps); diff != "" {
			t.Errorf("gaps (-want +got):\n%s", diff)
		}
	})
}
