package reflector

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/reflector/wire"
)

// sender returns an address in a /24 of its own choice.
func sender(a, b byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, a, b}), port)
}

// TestLimits reaches each limit and reads from the refusal which one it was.
func TestLimits(t *testing.T) {
	tests := []struct {
		name   string
		limits Limits
		// reach uses up what is allowed and returns the request that is too much,
		// and from where.
		reach func(c *client) (netip.AddrPort, wire.Request)
		want  wire.Refusal // ID, boot id and token apart
		token bool         // a fresh one comes along
	}{
		{
			"delay", Limits{MaxDelay: time.Minute},
			func(c *client) (netip.AddrPort, wire.Request) {
				c.place(flow, c.order(time.Minute, 1))
				return flow, c.order(time.Minute+time.Millisecond, 1)
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitDelay, Value: 60, Kind: wire.KindOrder}, true,
		},
		{
			"copies", Limits{MaxCopies: 3},
			func(c *client) (netip.AddrPort, wire.Request) {
				c.place(flow, c.order(time.Minute, 3))
				return flow, c.order(time.Minute, 4)
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitCopies, Value: 3, Kind: wire.KindOrder}, true,
		},
		{
			"pending of an address", Limits{Pending: 2},
			func(c *client) (netip.AddrPort, wire.Request) {
				c.place(flow, c.order(time.Minute, 1))
				c.place(flow, c.order(time.Minute, 1))
				return flow, c.order(time.Minute, 1)
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitPending, Value: 2, Kind: wire.KindOrder}, true,
		},
		{
			"pending of a network", Limits{Pending: 1},
			func(c *client) (netip.AddrPort, wire.Request) {
				o := c.order(time.Minute, 1)
				for i := range byte(prefixShare + 1) {
					from := sender(1, i, 5000)
					o.ID, o.Tokens = wire.NewID(), []wire.Token{c.g.token(0, from)}
					if i == prefixShare {
						return from, o
					}
					c.place(from, o)
				}
				return flow, nil
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitPending, Value: prefixShare, Kind: wire.KindOrder}, true,
		},
		{
			"packet rate", Limits{PPS: 50},
			func(c *client) (netip.AddrPort, wire.Request) {
				for range 49 { // the client's hello was the first without a token
					c.g.ask(0, flow, wire.Check{ID: wire.NewID()}.Encode())
				}
				return flow, wire.Check{ID: wire.NewID()}
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitRate, Value: 50, Kind: wire.KindCheck}, false,
		},
		{
			"packet rate with a token", Limits{PPS: 50},
			func(c *client) (netip.AddrPort, wire.Request) {
				for range 49 { // the client's query was the first
					c.g.ask(0, flow, wire.Check{ID: wire.NewID(), Token: c.token}.Encode())
				}
				return flow, wire.Check{ID: wire.NewID(), Token: c.token}
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitRate, Value: 50, Kind: wire.KindCheck}, false,
		},
		{
			"slots of an address", Limits{SlotAddress: 10},
			func(c *client) (netip.AddrPort, wire.Request) {
				c.place(flow, c.order(time.Minute, 5)) // with five beacons
				return flow, c.order(time.Minute, 1)
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitSlot, Value: 10, Kind: wire.KindOrder}, true,
		},
		{
			"slots of a network", Limits{SlotPrefix: 10},
			func(c *client) (netip.AddrPort, wire.Request) {
				c.place(flow, c.order(time.Minute, 5))
				neighbour := netip.AddrPortFrom(flow.Addr().Next(), 5000)
				o := c.order(time.Minute, 1)
				o.Tokens = []wire.Token{c.g.token(0, neighbour)}
				return neighbour, o
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitSlot, Value: 10, Kind: wire.KindOrder}, true,
		},
		{
			"memory for orders", Limits{Orders: 2},
			func(c *client) (netip.AddrPort, wire.Request) {
				c.place(flow, c.order(time.Second, 1))
				c.place(flow, c.order(time.Minute, 1))
				after(2 * time.Second) // a remembered order takes memory too
				c.g.take(0)
				return flow, c.order(time.Minute, 1)
			},
			wire.Refusal{Code: wire.CodeCapacity, Limit: wire.LimitMemory, Value: 2, Kind: wire.KindOrder}, true,
		},
		{
			"sessions", Limits{Sessions: 2},
			func(c *client) (netip.AddrPort, wire.Request) {
				c.g.client(0, sender(1, 1, 5000))
				return home, wire.Query{Session: wire.NewSessionID(), Token: c.token, Seq: 1}
			},
			wire.Refusal{Code: wire.CodeCapacity, Limit: wire.LimitSessions, Value: 2, Kind: wire.KindQuery}, true,
		},
		{
			"sessions of an address", Limits{},
			func(c *client) (netip.AddrPort, wire.Request) {
				q := wire.Query{Token: c.token, Seq: 1}
				for range sessionsPerAddress - 1 {
					q.Session = wire.NewSessionID()
					c.g.query(0, home, q)
				}
				q.Session = wire.NewSessionID()
				return home, q
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitSessions, Value: sessionsPerAddress, Kind: wire.KindQuery}, true,
		},
		{
			"sessions of a network", Limits{},
			func(c *client) (netip.AddrPort, wire.Request) {
				var from netip.AddrPort
				q := wire.Query{Seq: 1}
				for i := range sessionsPerAddress * prefixShare {
					if i%sessionsPerAddress == 0 {
						from = sender(2, byte(i/sessionsPerAddress), 5000)
						q.Token = c.g.token(0, from)
					}
					q.Session = wire.NewSessionID()
					c.g.query(0, from, q)
				}
				from = sender(2, 200, 5000)
				return from, wire.Query{Session: wire.NewSessionID(), Token: c.g.token(0, from), Seq: 1}
			},
			wire.Refusal{Code: wire.CodeQuota, Limit: wire.LimitSessions, Value: sessionsPerAddress * prefixShare, Kind: wire.KindQuery}, true,
		},
		{
			"payment for a burst", Limits{},
			func(c *client) (netip.AddrPort, wire.Request) {
				o := c.order(time.Minute, 10)
				o.Size = wire.OrderSize(9, false, false)
				return flow, o
			},
			wire.Refusal{Code: wire.CodeBadRequest, Limit: wire.LimitPayment, Value: uint32(wire.OrderSize(10, false, false)), Kind: wire.KindOrder}, true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, Config{Limits: tt.limits}, serverA)
				c := g.client(0, home)
				from, r := tt.reach(c)
				got := g.refused(0, from, r.(interface{ Encode() []byte }).Encode())
				if fresh := got.Token != (wire.Token{}); fresh != tt.token {
					t.Errorf("came with a token: %v, want %v", fresh, tt.token)
				}
				if got.Boot != g.reflector.gate.boot {
					t.Errorf("boot id %v, want %v", got.Boot, g.reflector.gate.boot)
				}
				got.ID, got.Token, got.Boot = wire.ID{}, wire.Token{}, wire.BootID{}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				s := g.reflector.Stats()
				if s.Refused[tt.want.Code] != 1 || s.RefusedLimit[tt.want.Limit] != 1 {
					t.Errorf("counted %v and %v, want one each of %v and %v", s.Refused, s.RefusedLimit, tt.want.Code, tt.want.Limit)
				}
			})
		})
	}
}

// TestUnlimited: what a bench lifts is lifted, and advertised as such.
func TestUnlimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{PPS: Unlimited, Pending: Unlimited, SlotAddress: Unlimited, SlotPrefix: Unlimited}}, serverA)
		c := g.client(0, home)
		const orders = 2 * DefaultPending
		for range orders {
			g.conns[0].put(flow, c.order(time.Minute, 1).Encode())
		}
		synctest.Wait()
		if s := g.reflector.Stats(); s.Pending != orders {
			t.Errorf("%d orders pending, want %d; refused: %v", s.Pending, orders, s.RefusedLimit)
		}
		hello, ok := g.ask(0, home, wire.Hello{ID: wire.NewID()}.Encode()).(wire.HelloReply)
		if !ok || hello.Limits.PPS != 0 || hello.Limits.Pending != DefaultOrders {
			t.Errorf("advertised %+v", hello.Limits)
		}
	})
}

// TestAdvertisedLimits: the hello tells what is enforced.
func TestAdvertisedLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{EgressGap: 350 * time.Second, Limits: Limits{PPS: 77}}, serverA)
		hello, ok := g.ask(0, home, wire.Hello{ID: wire.NewID()}.Encode()).(wire.HelloReply)
		want := wire.Limits{
			MaxDelay: DefaultMaxDelay, MaxCopies: DefaultMaxCopies, Pending: DefaultPending, PPS: 77, EgressGap: 350 * time.Second,
		}
		if diff := cmp.Diff(want, hello.Limits); diff != "" || !ok {
			t.Errorf("limits (-want +got):\n%s", diff)
		}
	})
}

// TestRateRecovers: a limit on the rate is no ban.
func TestRateRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, Config{Limits: Limits{PPS: 10}}, serverA)
		ask := func() (answered int) {
			for range 100 {
				if _, ok := g.ask(0, home, wire.Check{ID: wire.NewID()}.Encode()).(wire.CheckReply); ok {
					answered++
				}
			}
			return answered
		}
		got := []int{ask()}
		after(500 * time.Millisecond)
		got = append(got, ask())
		after(time.Hour)
		got = append(got, ask())
		if diff := cmp.Diff([]int{10, 5, 10}, got); diff != "" {
			t.Errorf("answers to 100 checks each (-want +got):\n%s", diff)
		}
		other := netip.AddrPortFrom(home.Addr().Next(), home.Port())
		if _, ok := g.ask(0, other, wire.Check{ID: wire.NewID()}.Encode()).(wire.CheckReply); !ok {
			t.Error("a neighbour's check was not answered")
		}
	})
}

func TestConfigValidate(t *testing.T) {
	tests := []struct {
		field string
		cfg   Config
	}{
		{"", Config{}},
		{"", Config{Secret: make([]byte, wire.MinSecret), EgressGap: maxDelay, Limits: Limits{MaxDelay: maxDelay, MaxCopies: 1, PPS: Unlimited}}},
		{"Secret", Config{Secret: make([]byte, wire.MinSecret-1)}},
		{"EgressGap", Config{EgressGap: -time.Second}},
		{"EgressGap", Config{EgressGap: 1500 * time.Millisecond}},
		{"EgressGap", Config{EgressGap: maxDelay + time.Second}},
		{"", Config{Advertise: []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")}}},
		{"Advertise", Config{Advertise: []netip.Addr{{}}}},
		{"Advertise", Config{Advertise: []netip.Addr{netip.IPv4Unspecified()}}},
		{"Advertise", Config{Advertise: []netip.Addr{netip.MustParseAddr("ff02::1")}}},
		{"Advertise", Config{Advertise: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.2")}}},
		{"Limits.MaxDelay", Config{Limits: Limits{MaxDelay: time.Millisecond}}},
		{"Limits.MaxDelay", Config{Limits: Limits{MaxDelay: maxDelay + time.Second}}},
		{"Limits.MaxDelay", Config{Limits: Limits{MaxDelay: 90*time.Second + 1}}},
		{"Limits.MaxCopies", Config{Limits: Limits{MaxCopies: Unlimited}}},
		{"Limits.MaxCopies", Config{Limits: Limits{MaxCopies: wire.MaxCopies + 1}}},
		{"Limits.Pending", Config{Limits: Limits{Pending: -2}}},
		{"Limits.PPS", Config{Limits: Limits{PPS: 1<<30 + 1}}},
		{"Limits.SlotAddress", Config{Limits: Limits{SlotAddress: -2}}},
		{"Limits.SlotPrefix", Config{Limits: Limits{SlotPrefix: -2}}},
		{"Limits.Orders", Config{Limits: Limits{Orders: Unlimited}}},
		{"Limits.Sessions", Config{Limits: Limits{Sessions: Unlimited}}},
	}
	for _, tt := range tests {
		err := tt.cfg.Validate()
		if _, newErr := New(tt.cfg); (err == nil) != (newErr == nil) {
			t.Errorf("%+v: Validate says %v and New %v", tt.cfg, err, newErr)
		}
		switch {
		case tt.field == "" && err != nil:
			t.Errorf("%+v: %v", tt.cfg, err)
		case tt.field != "" && (err == nil || !strings.HasPrefix(err.Error(), "config: "+tt.field+" ")):
			t.Errorf("%+v: error = %v, want one about %s", tt.cfg, err, tt.field)
		}
	}
}
