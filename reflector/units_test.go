package reflector

import (
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/reflector/wire"
)

func addressOf(addr string) group { return address(netip.MustParseAddr(addr)) }

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
		{"64:ff9b::c000:201", "192.0.2.1", true, true}, // a translator's
		{"64:ff9b::c000:201", "64:ff9b::c000:301", false, false},
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
		s := newSlots(DefaultOrders)
		due := make(map[group][]time.Duration)
		refused := 0
		for now := time.Duration(0); now < time.Minute; now += time.Duration(random.Int64N(int64(100 * time.Millisecond))) {
			s.expire(now)
			var claims []claim
			for range 1 + random.IntN(3) {
				claims = append(claims, claim{
					group: addressOf([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}[random.IntN(3)]),
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
	s := newSlots(DefaultOrders)
	at := 10 * time.Second
	free, full := addressOf("192.0.2.1"), addressOf("192.0.2.2")
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
	a, b := addressOf("192.0.2.1"), addressOf("192.0.2.2")
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

// TestSchedule plays random orders against a wheel, in ticks, blocks and after
// pauses longer than a turn, and takes them out at the times that it names.
func TestSchedule(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		b := newBook(1 << 12)
		var s schedule = newWheel(b)
		if _, ok := s.next(0); ok || s.popDue(time.Hour) != 0 {
			t.Fatal("an empty schedule has something due")
		}
		now := time.Duration(random.Int64N(int64(3 * time.Hour)))
		due := make(map[ref]time.Duration)
		add := func() {
			r, o, ok := b.add(0, wire.NewID(), nil, way{peer: home})
			if !ok {
				t.Fatal("no room")
			}
			longest := []time.Duration{time.Millisecond, 100 * time.Millisecond, 10 * time.Second, maxDelay + wire.MaxSpread}[random.IntN(4)]
			delay := time.Duration(random.Int64N(int64(longest))).Truncate(time.Millisecond)
			o.at, o.delay, o.copies = now, uint32(delay/time.Millisecond), 1
			due[r] = o.due()
			s.push(now, r)
		}
		taken, looks := 0, 0
		for step := 0; step < 3000 || len(due) > 0; step++ {
			for range random.IntN(3) {
				if step < 2000 {
					add()
				}
			}
			last := time.Duration(0)
			for r := s.popDue(now); r != 0; r = s.popDue(now) {
				at, known := due[r]
				if !known || at > now || at < last {
					t.Fatalf("seed %d: at %v an order due at %v came after one due at %v (known: %v)", seed, now, at, last, known)
				}
				delete(due, r)
				b.remove(r)
				last = at
				taken++
			}
			earliest := time.Duration(math.MaxInt64)
			for _, at := range due {
				earliest = min(earliest, at)
			}
			at, ok := s.next(now)
			if ok != (len(due) > 0) || ok && (at > earliest || at <= now) {
				t.Fatalf("seed %d: at %v the next is said to be due at %v (%v), it is at %v", seed, now, at, ok, earliest)
			}
			switch {
			case ok && random.IntN(50) > 0:
				now = at
				if step < 2000 && random.IntN(2) == 0 { // between two departures
					now -= time.Duration(random.Int64N(int64(at-now) + 1))
				}
			default:
				now += time.Duration(random.Int64N(int64(2 * time.Hour)))
			}
			looks++
		}
		if taken < 1000 {
			t.Errorf("seed %d: %d orders in %d looks: the test tries too little", seed, taken, looks)
		}
	}
}

// TestScheduleDrain: nothing is forgotten, wherever it waits.
func TestScheduleDrain(t *testing.T) {
	b := newBook(100)
	w := newWheel(b)
	var want []ref
	for _, delay := range []uint32{0, 0, 3, 900, 30_000, 3_600_000} {
		r, o, _ := b.add(0, wire.NewID(), nil, way{peer: home})
		o.delay, o.copies = delay, 1
		w.push(0, r)
		want = append(want, r)
	}
	var got []ref
	w.drain(func(r ref) { got = append(got, r) })
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("drained (-want +got):\n%s", diff)
	}
	if _, ok := w.next(0); ok || w.popDue(2*time.Hour) != 0 {
		t.Error("something is left")
	}
}

// TestBook fills a book, empties it in another order, and fills it again: the
// memory is the same, and everything is found as long as it is there.
func TestBook(t *testing.T) {
	const orders = 3 * chunkSize
	b := newBook(orders)
	random := rand.New(rand.NewPCG(3, 1))
	ports := []*port{{}, {}}
	type entry struct {
		ref     ref
		session uint32
		id      wire.ID
		port    *port
		way     way
	}
	for range 3 {
		var entries []entry
		for i := range orders {
			e := entry{session: uint32(random.IntN(3)), id: wire.NewID(), port: ports[i%2]}
			e.way.peer = netip.AddrPortFrom(netip.MustParseAddr([]string{"192.0.2.1", "2001:db8::1", "fe80::1%3"}[i%3]), uint16(i))
			if i%5 == 0 {
				e.way.local = netip.MustParseAddr("192.0.2.99")
			}
			if i%1000 == 0 {
				e.way.addr = &net.UnixAddr{Name: "not the system's"}
			}
			var ok bool
			if e.ref, _, ok = b.add(e.session, e.id, e.port, e.way); !ok {
				t.Fatal("no room")
			}
			entries = append(entries, e)
		}
		random.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		for _, e := range entries {
			if b.find(e.session, e.id) != b.at(e.ref) || b.find(e.session+3, e.id) != nil {
				t.Fatalf("%+v isn't found", e)
			}
			if p, w := b.way(e.ref); p != e.port || w != e.way {
				t.Fatalf("the way is %+v, want %+v", w, e.way)
			}
			b.remove(e.ref)
			if b.find(e.session, e.id) != nil {
				t.Fatalf("%+v is found after it is gone", e)
			}
		}
	}
	if len(b.chunks) != orders/chunkSize+1 || len(b.pathIndex) != 0 || len(b.foreign) != 0 {
		t.Errorf("%d chunks, %d paths and %d foreign sources are left", len(b.chunks), len(b.pathIndex), len(b.foreign))
	}
}

// TestBookPaths: a machine with more addresses than there is room for can't
// fill the memory.
func TestBookPaths(t *testing.T) {
	b := newBook(1)
	var first ref
	for i := range maxPaths + 1 {
		local := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		r, _, ok := b.add(0, wire.NewID(), nil, way{peer: home, local: local})
		if ok != (i < maxPaths) {
			t.Fatalf("path %d: room %v", i, ok)
		}
		if i == 0 {
			first = r
		}
	}
	b.remove(first)
	if _, _, ok := b.add(0, wire.NewID(), nil, way{peer: home, local: netip.MustParseAddr("192.0.2.1")}); !ok {
		t.Error("no room after a path was left")
	}
}

// TestCounts: a count is never too low, and with few heavy groups hardly ever
// much too high.
func TestCounts(t *testing.T) {
	const total = 1 << 16
	c := newCounts(total)
	heavy := addressOf("192.0.2.1")
	c.add(heavy, 1024)
	random := rand.New(rand.NewPCG(1, 1))
	for range total {
		c.add(group{prefix: random.Uint64()}, 1)
	}
	high := 0
	for i := range 1000 {
		if n := c.of(group{prefix: uint64(i), v4: true, width: oneNetwork}); n > 64 {
			high++
		}
	}
	if n := c.of(heavy); n < 1024 || n > 1100 {
		t.Errorf("1024 are told as %d", n)
	}
	if high > 2 {
		t.Errorf("%d of 1000 groups without any are told more than 64", high)
	}
	c.add(heavy, -1024)
	if n := c.of(heavy); n > 64 {
		t.Errorf("none are told as %d", n)
	}
}

func TestLateness(t *testing.T) {
	var l lateness
	for _, d := range []time.Duration{-1, 0, 64 * time.Microsecond, 64*time.Microsecond + 1, 128 * time.Microsecond, time.Second, time.Hour} {
		l.observe(d)
	}
	s := l.snapshot()
	want := make([]uint64, latenessRanges)
	want[0], want[1], want[14] = 3, 2, 1
	if diff := cmp.Diff(want, s.Count); diff != "" || s.Total != 7 || s.Upper[14] < time.Second || s.Upper[13] >= time.Second {
		t.Errorf("total %d, (-want +got):\n%s", s.Total, diff)
	}
}
