package natmodel

import (
	"testing"
	"time"
)

// step is one packet through a fresh mapping: at a time, out or in.
type step struct {
	at time.Duration
	in bool
}

func TestTimersByTraffic(t *testing.T) {
	linux := Linux(30*sec, 120*sec)
	quiet := Linux(30*sec, 120*sec)
	quiet.RefreshInbound = false
	distinct := Flat(1 * sec)
	distinct.Timers = Timers{Solitary: 10 * sec, Oneway: 20 * sec, Exchange: 40 * sec, Stream: 80 * sec}
	distinct.StreamAfter = 2 * sec
	distinct.RefreshInbound = true
	distinctQuiet := distinct
	distinctQuiet.RefreshInbound = false

	out := func(at time.Duration) step { return step{at: at} }
	in := func(at time.Duration) step { return step{at: at, in: true} }
	ms := time.Millisecond

	tests := []struct {
		name  string
		cfg   Config
		steps []step
		want  time.Duration // when the mapping dies
	}{
		{"linux one packet", linux, []step{out(0)}, 30 * sec},
		{"linux several out", linux, []step{out(0), out(5 * sec)}, 35 * sec},
		{"linux exchange", linux, []step{out(0), in(50 * ms), out(60 * ms)}, 30*sec + 60*ms},
		{"linux exchange at exactly 2 s", linux, []step{out(0), in(50 * ms), out(2 * sec)}, 32 * sec},
		{"linux stream", linux, []step{out(0), in(50 * ms), out(2*sec + 1)}, 122*sec + 1},
		{"linux stream by an inbound packet", linux, []step{out(0), in(50 * ms), in(3 * sec)}, 123 * sec},
		{"linux late first reply is no stream yet", linux, []step{out(0), in(10 * sec)}, 40 * sec},
		{"linux packet after late reply", linux, []step{out(0), in(10 * sec), out(11 * sec)}, 131 * sec},
		{"linux many out never stream", linux, []step{out(0), out(1 * sec), out(20 * sec)}, 50 * sec},
		{"linux, no inbound refresh", quiet, []step{out(0), in(20 * sec)}, 30 * sec},
		{"linux, no inbound refresh but reply noted", quiet, []step{out(0), in(1 * sec), out(3 * sec)}, 123 * sec},

		{"openwrt stream", OpenWrt(), []step{out(0), in(1 * sec), out(3 * sec)}, 183 * sec},

		{"pf first packet", PF(), []step{out(0)}, 60 * sec},
		{"pf several out", PF(), []step{out(0), out(1 * sec)}, 31 * sec},
		{"pf reply only", PF(), []step{out(0), in(1 * sec)}, 31 * sec},
		{"pf exchange", PF(), []step{out(0), in(50 * ms), out(60 * ms)}, 60*sec + 60*ms},
		{"pf stream", PF(), []step{out(0), in(1 * sec), out(5 * sec)}, 65 * sec},

		{"distinct solitary", distinct, []step{out(0)}, 10 * sec},
		{"distinct oneway", distinct, []step{out(0), out(1 * sec)}, 21 * sec},
		{"distinct exchange", distinct, []step{out(0), in(1 * sec), out(1 * sec)}, 41 * sec},
		{"distinct stream", distinct, []step{out(0), in(1 * sec), out(3 * sec)}, 83 * sec},
		{"inbound neither shortens nor lengthens", distinctQuiet, []step{out(0), in(1 * sec), out(3 * sec), in(9 * sec)}, 83 * sec},

		{"flat", Flat(45 * sec), []step{out(0), in(1 * sec), in(9 * sec)}, 54 * sec},
		{"firewall", Firewall(300 * sec), []step{out(0), in(1 * sec)}, 301 * sec},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBox(t, tt.cfg)
			ext := clientA
			for _, s := range tt.steps {
				if !s.in {
					ext = b.send(s.at, clientA, server)
				} else if !b.reply(s.at, server, ext, clientA) {
					t.Fatalf("packet from outside at %v was dropped", s.at)
				}
			}
			last := tt.steps[len(tt.steps)-1].at
			if got := last + b.lifetime(last, ext, server); got != tt.want {
				t.Errorf("mapping dies at %v, want %v", got, tt.want)
			}
			// The table and the packets must agree about the last moment.
			if b.reply(tt.want, server, ext, clientA) {
				t.Errorf("packet at %v, the deadline, was let in", tt.want)
			}
		})
	}
}

func TestPacketInTheLastMomentPasses(t *testing.T) {
	b := newBox(t, Linux(30*sec, 120*sec))
	ext := b.send(0, clientA, server)
	if !b.reply(30*sec-1, server, ext, clientA) {
		t.Error("packet just before the deadline was dropped")
	}
	if !b.reply(60*sec-2, server, ext, clientA) {
		t.Error("inbound packet did not refresh the mapping")
	}
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	b := newBox(t, Flat(10*sec))
	b.send(0, clientA, server)
	ext := b.send(100*sec, clientB, server)
	b.send(5*sec, clientA, server) // counts as 100 s
	if got := b.Mappings(105 * sec); got != 2 {
		t.Errorf("Mappings = %d, want 2", got)
	}
	if !b.alive(105*sec, ext, server) {
		t.Error("mapping made at 100 s is dead at 105 s")
	}
}

func TestSweep(t *testing.T) {
	cfg := Flat(30 * sec)
	cfg.Sweep = 10 * sec
	var least, most time.Duration = time.Hour, 0
	for seed := range uint64(200) {
		cfg.Seed = seed
		b := newBox(t, cfg)
		start := time.Duration(seed) * 700 * time.Millisecond
		ext := b.send(start, clientA, server)
		got := b.lifetime(start, ext, server)
		if got < 30*sec || got >= 40*sec {
			t.Fatalf("seed %d: lifetime %v, want [30s, 40s)", seed, got)
		}
		if sweep := (start + got - b.phase) % cfg.Sweep; sweep != 0 {
			t.Fatalf("seed %d: died %v after a sweep", seed, sweep)
		}
		least, most = min(least, got), max(most, got)
	}
	if least > 31*sec || most < 39*sec {
		t.Errorf("lifetimes from %v to %v, want them spread over 30 s to 40 s", least, most)
	}
}

func TestSweepLeavesOverdueMappingRefreshable(t *testing.T) {
	cfg := Flat(30 * sec)
	cfg.Sweep = 10 * sec
	b := newBox(t, cfg)
	b.phase = 5 * sec
	ext := b.send(0, clientA, server) // swept at 35 s
	if !b.reply(34*sec, server, ext, clientA) {
		t.Fatal("overdue mapping was dead before the sweep")
	}
	if got := b.lifetime(34*sec, ext, server); got != 31*sec { // due at 64 s, swept at 65 s
		t.Errorf("lifetime after refresh = %v, want 31s", got)
	}
}

func TestShortestTimers(t *testing.T) {
	got := Linux(30*sec, 120*sec).Timers.Shortest(PF().Timers)
	want := Timers{Solitary: 30 * sec, Oneway: 30 * sec, Exchange: 30 * sec, Stream: 60 * sec}
	if got != want {
		t.Errorf("Shortest = %+v, want %+v", got, want)
	}
}
