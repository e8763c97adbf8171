package reflector

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/reflector/wire"
)

// sentTo lists to whom packets of a kind went.
func sentTo(t *testing.T, packets []memPacket) (bursts, beacons []netip.AddrPort) {
	t.Helper()
	for _, p := range packets {
		switch r := parse(t, p.payload).(type) {
		case wire.Burst:
			bursts = append(bursts, p.peer)
		case wire.Beacon:
			beacons = append(beacons, p.peer)
		default:
			t.Errorf("%#v left without a request", r)
		}
	}
	return bursts, beacons
}

// TestSessionMoves: beacons follow the newest query, whatever overtook what on
// the way, and the burst stays with its order.
func TestSessionMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA, serverB)
		c := g.client(0, home)
		c.place(flow, c.order(10*time.Second, 2))

		moved := netip.MustParseAddrPort("203.0.113.9:50000")
		q := wire.Query{Session: c.session, Token: g.token(1, moved), Seq: 5}
		if got := g.query(1, moved, q); got.Received != 2 || got.Mapped != moved {
			t.Errorf("reply at the new address = %+v, want 2 received", got)
		}
		q.Token, q.Seq = c.token, 4 // sent before the move, arrives after it
		if got := g.query(0, home, q); got.Received != 3 || got.Seq != 4 {
			t.Errorf("reply to the overtaken query = %+v, want seq 4, 3 received", got)
		}
		after(11 * time.Second)
		bursts, none := sentTo(t, g.take(0))
		_, beacons := sentTo(t, g.take(1))
		if diff := cmp.Diff([]netip.AddrPort{flow, flow}, bursts, byValue); diff != "" || len(none) != 0 {
			t.Errorf("bursts (-want +got):\n%s; beacons at the old place: %v", diff, none)
		}
		if diff := cmp.Diff([]netip.AddrPort{moved, moved}, beacons, byValue); diff != "" {
			t.Errorf("beacons (-want +got):\n%s", diff)
		}
	})
}

// TestMovedBeaconsKeepSlots: a session that moves takes no more slots at its
// new address than others leave it.
func TestMovedBeaconsKeepSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{SlotAddress: 20}}, serverA)
		c := g.client(0, home)
		o := c.order(10*time.Second, 8)
		c.place(flow, o)

		moved := netip.MustParseAddrPort("203.0.113.9:50000")
		there := g.client(0, moved)
		there.place(moved, there.order(10*time.Second, 8)) // 16 packets due there
		g.query(0, moved, wire.Query{Session: c.session, Token: there.token, Seq: 9})
		after(11 * time.Second)
		bursts, beacons := sentTo(t, g.take(0))
		if len(bursts) != 16 || len(beacons) != 12 {
			t.Errorf("%d copies and %d beacons left, want 16 and 12", len(bursts), len(beacons))
		}
	})
}

// TestReceivedCounts: each query counts once.
func TestReceivedCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		token, session := g.token(0, home), wire.NewSessionID()
		var got []uint32
		for _, seq := range []uint32{3, 1, 3, 2, 2, 200, 136, 137, 137, 1} {
			got = append(got, g.query(0, home, wire.Query{Session: session, Token: token, Seq: seq}).Received)
		}
		// 136 is 64 behind the newest and can't be told from a repetition.
		want := []uint32{1, 2, 2, 3, 3, 4, 4, 5, 5, 5}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("received (-want +got):\n%s", diff)
		}
	})
}

// TestForeignOrders: a session learns nothing about another's orders.
func TestForeignOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c, stranger := g.client(0, home), g.client(0, flow)
		o := c.place(flow, c.order(time.Minute, 1))
		if got := stranger.query(o.ID).Receipts; got[0].State != wire.StateUnknown || got[0].From.IsValid() {
			t.Errorf("receipt of another's order = %+v", got[0])
		}
	})
}

// TestDuplicatedOrder: an order that comes again is noted, not scheduled again,
// even from elsewhere and after its burst.
func TestDuplicatedOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		o := c.place(flow, c.order(10*time.Second, 1))
		c.place(flow, o)
		after(5 * time.Second)
		c.place(home, o)
		if got := c.query(o.ID).Receipts[0]; !got.Duplicated || got.State != wire.StatePending || got.From != flow {
			t.Errorf("receipt = %+v, want pending and duplicated from %v", got, flow)
		}
		after(10 * time.Second)
		bursts, beacons := sentTo(t, g.take(0))
		c.place(flow, o)
		after(20 * time.Second)
		if again := g.take(0); len(again) != 0 {
			t.Errorf("an order that came again after its burst sent %d packets", len(again))
		}
		if diff := cmp.Diff([]netip.AddrPort{flow}, bursts, byValue); diff != "" || len(beacons) != 1 {
			t.Errorf("%d beacons, bursts (-want +got):\n%s", len(beacons), diff)
		}
		if s := g.reflector.Stats(); s.Accepted != 1 || s.Duplicates != 3 {
			t.Errorf("%d orders accepted, %d duplicates, want 1 and 3", s.Accepted, s.Duplicates)
		}
	})
}

// TestReceiptOnly: the delay and spread of an order of no copies mean nothing, it
// adds all its bytes to the credit, leaves slots to others, is noted
// when it comes again, and is remembered for a minute.
func TestReceiptOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{MaxDelay: time.Minute, Pending: 3, SlotAddress: 2}}, serverA)
		c := g.client(0, home)
		credit := g.reflector.core.sessions.byID[c.session].credit
		o := c.order(time.Hour, 0)
		o.Spread = time.Minute
		c.place(flow, o)
		if got, want := g.reflector.core.sessions.byID[c.session].credit-credit, wire.IPBytes(home.Addr(), len(o.Encode())); got != want {
			t.Errorf("it added %d bytes to the credit, want all of its %d", got, want)
		}
		c.place(flow, c.order(time.Second, 0))
		later := c.place(flow, c.order(time.Second, 1)) // takes both slots
		want := wire.Receipt{ID: o.ID, State: wire.StateSent, From: flow}
		if diff := cmp.Diff(want, c.query(o.ID).Receipts[0], byValue); diff != "" {
			t.Errorf("receipt (-want +got):\n%s", diff)
		}
		c.place(home, o)
		want.Duplicated = true
		if diff := cmp.Diff(want, c.query(o.ID).Receipts[0], byValue); diff != "" {
			t.Errorf("receipt after it came again (-want +got):\n%s", diff)
		}
		if s := g.reflector.Stats(); s.Accepted != 3 || s.Pending != 1 || s.Remembered != 2 || s.Duplicates != 1 {
			t.Errorf("stats = %+v, want 3 accepted, 1 pending, 2 remembered, 1 duplicate", s)
		}
		after(receiptLifetime - time.Millisecond)
		bursts, beacons := sentTo(t, g.take(0))
		if len(bursts) != 1 || len(beacons) != 1 {
			t.Errorf("%d copies and %d beacons left, want one each, of the other order", len(bursts), len(beacons))
		}
		if got := c.query(o.ID, later.ID).Receipts; got[0].State != wire.StateSent || got[1].State != wire.StateSent {
			t.Errorf("receipts just before a minute has passed = %+v, want both sent", got)
		}
		after(time.Millisecond)
		if got := c.query(o.ID, later.ID).Receipts; got[0].State != wire.StateUnknown || got[1].State != wire.StateSent {
			t.Errorf("receipts after a minute = %+v, want the first forgotten", got)
		}
	})
}

// TestReceiptOnlyRefused: an order of no copies is admitted as any other.
func TestReceiptOnlyRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{Pending: 2, Orders: 2}}, serverA)
		c := g.client(0, home)
		elsewhere := netip.MustParseAddrPort("203.0.113.9:50000")
		refused := func(from netip.AddrPort, change func(o *wire.Order), code wire.Code, limit wire.LimitKind) {
			t.Helper()
			o := c.order(0, 0)
			change(&o)
			r := g.refused(0, from, o.Encode())
			if r.Code != code || r.Limit != limit || r.Kind != wire.KindOrder || r.ID != o.ID || r.Token == (wire.Token{}) {
				t.Errorf("refused with %+v, want %v, %v and a token", r, code, limit)
			}
			if got := c.query(o.ID).Receipts[0].State; got != wire.StateUnknown {
				t.Errorf("a refused order is %v, want unknown", got)
			}
		}
		same := func(*wire.Order) {}
		refused(flow, func(o *wire.Order) { o.Session = wire.NewSessionID() }, wire.CodeUnknownSession, wire.LimitNone)
		refused(elsewhere, same, wire.CodeStaleToken, wire.LimitNone)
		c.place(flow, c.order(time.Second, 1))
		c.place(flow, c.order(0, 0))
		refused(flow, same, wire.CodeQuota, wire.LimitPending)
		after(2 * time.Second)
		g.take(0)
		refused(flow, same, wire.CodeCapacity, wire.LimitMemory)
	})
}

// TestForgetting: receipts live a minute, sessions five idle ones, and nothing
// that they took is left behind.
func TestForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		o := c.place(flow, c.order(10*time.Second, 1))
		after(10*time.Second + receiptLifetime - time.Millisecond)
		g.take(0)
		if got := c.query(o.ID).Receipts[0].State; got != wire.StateSent {
			t.Errorf("just before a minute has passed the order is %v, want sent", got)
		}
		after(time.Millisecond)
		if got := c.query(o.ID).Receipts[0].State; got != wire.StateUnknown {
			t.Errorf("after a minute the order is %v, want unknown", got)
		}

		// A pending order keeps an idle session.
		o = c.place(flow, c.order(9*time.Minute, 1))
		after(9*time.Minute + 30*time.Second)
		g.take(0)
		if got := c.query(o.ID); got.Received != 4 || got.Receipts[0].State != wire.StateSent {
			t.Errorf("reply after nine minutes = %+v, want 4 received and the order sent", got)
		}
		after(sessionIdle)
		c.token = g.token(0, home)
		if r := g.refused(0, flow, c.order(time.Second, 1).Encode()); r.Code != wire.CodeUnknownSession || r.Token == (wire.Token{}) {
			t.Errorf("an order of a forgotten session was refused with %+v", r)
		}
		core := g.reflector.core
		left := len(core.sessions.byID) + core.sessions.idle.Len() + len(core.sessions.owners) + core.book.pending + core.book.done +
			len(core.book.pathIndex) + len(core.slots.counts)
		for _, n := range core.pending.table {
			left += int(n)
		}
		for i, r := range core.book.index {
			if r != 0 {
				t.Errorf("order %d is still at %d in the index", r, i)
			}
		}
		if left != 0 {
			t.Errorf("left behind: %+v, %+v, %d slots", core.sessions, core.book.pathIndex, len(core.slots.counts))
		}
	})
}

// TestForgettingAlone: what is old is forgotten though nothing else comes.
func TestForgettingAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		c.place(flow, c.order(time.Second, 1))
		after(time.Second + receiptLifetime + 2*tidyPeriod)
		core := g.reflector.core // not its statistics, which would make it forget
		held := func() (orders, sessions, slots int) {
			g.reflector.mu.Lock()
			defer g.reflector.mu.Unlock()
			return core.book.pending + core.book.done, len(core.sessions.byID), len(core.slots.counts)
		}
		if orders, sessions, _ := held(); orders != 0 || sessions != 1 {
			t.Errorf("after a minute it remembers %d orders and %d sessions, want the session alone", orders, sessions)
		}
		after(sessionIdle)
		if orders, sessions, slots := held(); orders+sessions+slots != 0 {
			t.Errorf("after five more it remembers %d orders, %d sessions, %d slots", orders, sessions, slots)
		}
	})
}

// TestTokens: who must show what, and what a refusal brings.
func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		elsewhere := netip.MustParseAddrPort("203.0.113.9:50000")

		r := g.refused(0, elsewhere, c.order(time.Second, 1).Encode())
		if r.Code != wire.CodeStaleToken || r.Kind != wire.KindOrder {
			t.Errorf("an order from an address without token: %+v", r)
		}
		o := c.order(time.Second, 1)
		o.Tokens = []wire.Token{{1}, c.token, {2}, r.Token} // the refusal's token is good there
		c.place(elsewhere, o)

		r = g.refused(0, elsewhere, wire.Query{Session: c.session, Token: c.token, Seq: 9}.Encode())
		if r.Code != wire.CodeStaleToken || r.Kind != wire.KindQuery {
			t.Errorf("a query from an address without token: %+v", r)
		}
		if got := g.query(0, elsewhere, wire.Query{Session: c.session, Token: r.Token, Seq: 10}).Received; got != 2 {
			t.Errorf("%d queries received, want 2: the refused one doesn't count", got)
		}

		after(wire.TokenLifetime)
		g.take(0)
		r = g.refused(0, home, wire.Query{Session: c.session, Token: c.token, Seq: 11}.Encode())
		if r.Code != wire.CodeStaleToken {
			t.Errorf("a query with an expired token: %+v", r)
		}
		got := g.query(0, home, wire.Query{Session: c.session, Token: r.Token, Seq: 12})
		if got.Token.Expiry() != time.Now().Add(wire.TokenLifetime) {
			t.Errorf("a reply's token expires at %v, want %v from now", got.Token.Expiry(), wire.TokenLifetime)
		}
	})
}

// TestRestart: a reflector with the same secret takes the old one's tokens,
// knows nothing of its orders, and says by its boot id why.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := []byte("a secret of the whole fleet")
		old := newRig(t, Config{Secret: secret}, serverA)
		c := old.client(0, home)
		o := c.place(flow, c.order(time.Second, 1))
		before := c.query(o.ID)

		c.g = newRig(t, Config{Secret: secret}, serverA)
		r := c.g.refused(0, flow, c.order(time.Second, 1).Encode())
		if r.Code != wire.CodeUnknownSession || r.Boot == before.Boot {
			t.Errorf("an order after the restart was refused with %+v, before it the boot id was %v", r, before.Boot)
		}
		got := c.query(o.ID)
		if got.Boot != r.Boot || got.Received != 1 || got.Receipts[0].State != wire.StateUnknown {
			t.Errorf("reply after the restart = %+v", got)
		}
		c.place(flow, c.order(time.Second, 1))

		c.g = newRig(t, Config{}, serverA) // with a secret of its own
		if r := c.g.refused(0, home, wire.Query{Session: c.session, Token: c.token, Seq: 9}.Encode()); r.Code != wire.CodeStaleToken {
			t.Errorf("a foreign token was refused with %+v", r)
		}
	})
}

// TestUnpaidBeacons: where the credit is used up the burst leaves all the same.
func TestUnpaidBeacons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{}, serverA)
		c := g.client(0, home)
		request := len(wire.Query{Session: c.session, Token: c.token}.Encode())
		if got, want := g.reflector.core.sessions.byID[c.session].credit, request-wire.QueryReplySize(home.Addr(), 0); got != want {
			t.Errorf("credit after one query = %d, want %d", got, want)
		}
		o := c.order(time.Second, 10)
		o.Size = wire.OrderSize(10, false, false)
		c.place(flow, o)
		credit := g.reflector.core.sessions.byID[c.session].credit
		after(2 * time.Second)
		bursts, beacons := sentTo(t, g.take(0))
		if want := credit / wire.IPBytes(home.Addr(), wire.CopySize); len(bursts) != 10 || len(beacons) != want || want >= 10 {
			t.Errorf("%d copies and %d beacons left, want 10 and %d", len(bursts), len(beacons), want)
		}
		for range 2000 { // queries pay for later beacons, up to a limit
			g.conns[0].put(home, wire.Query{ID: wire.NewID(), Session: c.session, Token: c.token, Seq: 2, Size: wire.MaxPayload}.Encode())
			after(10 * time.Millisecond)
		}
		g.take(0)
		if got := g.reflector.core.sessions.byID[c.session].credit; got != maxCredit {
			t.Errorf("credit = %d, want the limit of %d", got, maxCredit)
		}
	})
}
