package reflector

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func groupOf(addr string) group { return address(netip.MustParseAddr(addr)) }

func TestGroups(t *testing.T) {
	tests := []struct {
		a, b          string
		address, wide bool // whether they count as one
	}{
		{"192.0.2.1", "192.0.2.1", true, true},
		{"192.0.2.1", "::ffff:192.0.2.1", true, true},
		{"192.0.2.1", "192.0.2.200", false, true},
		{"192.0.2.1", "192.0.3.1", false, false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::1", true, true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false, true},
		{"2001:db8:1:2::1", "2001:db8:2:2::1", false, false},
		{"fe80::1%eth0", "fe80::1%eth1", true, true},
		{"::", "0.0.0.0", false, false},
	}
	for _, tt := range tests {
		a, b := netip.MustParseAddr(tt.a), netip.MustParseAddr(tt.b)
		if got := address(a) == address(b); got != tt.address {
			t.Errorf("%s and %s are one address: %v, want %v", tt.a, tt.b, got, tt.address)
		}
		if got := network(a) == network(b); got != tt.wide {
			t.Errorf("%s and %s are one network: %v, want %v", tt.a, tt.b, got, tt.wide)
		}
		if address(a) == network(a) {
			t.Errorf("%s: the address counts as the network", tt.a)
		}
	}
	for addr, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.77": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48",
	} {
		if got := masked(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("masked(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestAnswerable(t *testing.T) {
	for from, want := range map[string]bool{
		"192.0.2.1:1": true, "[2001:db8::1]:65535": true,
		"192.0.2.1:0": false, "0.0.0.0:1": false, "[::]:1": false, "224.0.0.1:1": false, "[ff02::1]:1": false, "255.255.255.255:1": false,
		"[::ffff:255.255.255.255]:1": false,
	} {
		if got := answerable(netip.MustParseAddrPort(from)); got != want {
			t.Errorf("answerable(%s) = %v, want %v", from, got, want)
		}
	}
	if answerable(netip.AddrPort{}) {
		t.Error("a source that is no address is answerable")
	}
}

// TestSlots compares reservations with a plain count of the packets in every
// second that begins with a packet.
func TestSlots(t *testing.T) {
	const limit = 20
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := newSlots()
		due := make(map[group][]time.Duration)
		refused := 0
		for now := time.Duration(0); now < time.Minute; now += time.Duration(random.Int64N(int64(100 * time.Millisecond))) {
			s.expire(now)
			var claims []claim
			for range 1 + random.IntN(3) {
				claims = append(claims, claim{
					group: groupOf([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}[random.IntN(3)]),
					due:   now + time.Duration(random.Int64N(int64(20*time.Second))),
					count: 1 + random.IntN(3), limit: limit,
				})
			}
			if _, ok := s.reserve(claims); !ok {
				refused++
				continue
			}
			for _, c := range claims {
				due[c.group] = append(due[c.group], slices.Repeat([]time.Duration{c.due}, c.count)...)
			}
		}
		if refused == 0 {
			t.Errorf("seed %d: nothing was refused, the test tries too little", seed)
		}
		for g, times := range due {
			slices.Sort(times)
			for i, at := range times {
				end, _ := slices.BinarySearch(times, at+time.Second)
				if end-i > limit {
					t.Fatalf("seed %d: %d packets to %v in the second from %v, want at most %d", seed, end-i, g, at, limit)
				}
			}
		}
	}
}

// TestSlotsGiveBack: a refused order holds nothing, and time frees the rest.
func TestSlotsGiveBack(t *testing.T) {
	s := newSlots()
	at := 10 * time.Second
	free, full := groupOf("192.0.2.1"), groupOf("192.0.2.2")
	if _, ok := s.reserve([]claim{{full, at, 5, 5}}); !ok {
		t.Fatal("the first five were refused")
	}
	refused, ok := s.reserve([]claim{{free, at, 5, 5}, {full, at, 1, 5}})
	if ok || refused.group != full {
		t.Fatalf("reserve = %v, %v, want the full group's refusal", refused, ok)
	}
	if _, ok := s.reserve([]claim{{free, at, 5, 5}}); !ok {
		t.Error("what a refused order took was not given back")
	}
	if _, ok := s.reserve([]claim{{full, at + 5*slotWidth, 5, 5}}); !ok {
		t.Error("five slots later nothing was free")
	}
	if _, ok := s.reserve([]claim{{full, at + time.Second, 1000, Unlimited}}); !ok {
		t.Error("a limit that is lifted was met")
	}
	s.expire(time.Hour)
	if len(s.counts) != 0 {
		t.Errorf("%d slots are left after an hour", len(s.counts))
	}
}

func TestMeter(t *testing.T) {
	m := newMeter(100)
	a, b := groupOf("192.0.2.1"), groupOf("192.0.2.2")
	count := func(g group, now time.Duration) (n int) {
		for range 1000 {
			if m.allow(g, now) {
				n++
			}
		}
		return n
	}
	now := time.Second
	got := []int{count(a, now), count(b, now), count(a, now+100*time.Millisecond), count(a, now+time.Hour), count(a, now+time.Minute)}
	// The last is a clock that was told late: no packet is gained by that.
	if diff := cmp.Diff([]int{100, 100, 10, 100, 0}, got); diff != "" {
		t.Errorf("packets allowed (-want +got):\n%s", diff)
	}
	if m := newMeter(Unlimited); !m.allow(a, 0) {
		t.Error("a meter without limit stopped a packet")
	}
}

func TestSchedule(t *testing.T) {
	var s schedule = &heapSchedule{}
	if _, ok := s.next(); ok || s.popDue(time.Hour) != nil {
		t.Error("an empty schedule has something due")
	}
	random := rand.New(rand.NewPCG(1, 1))
	var want []time.Duration
	for range 1000 {
		due := time.Duration(random.IntN(100)) * time.Millisecond
		want = append(want, due)
		s.push(&order{due: due})
	}
	slices.Sort(want)
	if due, ok := s.next(); !ok || due != want[0] {
		t.Errorf("next = %v, %v, want %v", due, ok, want[0])
	}
	var got []time.Duration
	for now := time.Duration(0); now <= 105*time.Millisecond; now += 7 * time.Millisecond {
		for o := s.popDue(now); o != nil; o = s.popDue(now) {
			if o.due > now {
				t.Fatalf("an order due at %v left at %v", o.due, now)
			}
			got = append(got, o.due)
		}
		if due, ok := s.next(); ok && due <= now {
			t.Fatalf("at %v an order due at %v was left", now, due)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
