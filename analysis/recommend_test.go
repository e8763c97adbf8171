package analysis

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/natprobe/natprobe/results"
)

// known is a lifetime of exactly s seconds.
func known(s float64) Bounds { return Bounds{LowerS: s, UpperS: &s} }

// timers is an input of exact lifetimes in the order oneway, exchange, stream,
// on a path that lost none of 300 packets and has a round-trip time of 40 ms.
func timers(oneway, exchange, stream float64) Input {
	return Input{
		Oneway: known(oneway), Exchange: known(exchange), Stream: known(stream),
		LossKnown: true, LossUpper95: results.UpperBound95(0, 300), RTT: 40 * time.Millisecond,
		Family: results.IPv4, Mapping: "endpoint-independent", Attested: true,
	}
}

func proven(s float64) Bounds { return Bounds{LowerS: s} }

func with(in Input, change func(*Input)) Input {
	change(&in)
	return in
}

// TestRecommendExamples has the worked examples. They hold for generic advice
// (h = 1.13), up to 10 % of loss (m = 1) and round-trip times up to 240 ms.
func TestRecommendExamples(t *testing.T) {
	examples := []struct {
		name  string
		in    Input
		want  int
		basis string
	}{
		{"stock Linux router", timers(30, 30, 120), 25, "exchange: 1.13 × 25 s"},
		{"OpenWrt", timers(60, 60, 180), 52, "exchange: 1.13 × 52 s"},
		{"flat 30 s", timers(30, 30, 30), 12, "stream: 2 × 1.13 × 12 s"},
		{"flat 60 s", timers(60, 60, 60), 26, "stream: 2 × 1.13 × 26 s"},
		{"flat 120 s", timers(120, 120, 120), 52, "stream: 2 × 1.13 × 52 s"},
		{"flat 180 s", timers(180, 180, 180), 79, "stream: 2 × 1.13 × 79 s"},
	}
	for _, tt := range examples {
		for _, vary := range []struct {
			name   string
			change func(*Input)
		}{
			{"as is", func(*Input) {}},
			{"RTT 0", func(in *Input) { in.RTT = 0 }},
			{"RTT 240 ms", func(in *Input) { in.RTT = 240 * time.Millisecond }},
			{"no loss at all", func(in *Input) { in.LossUpper95 = 0 }},
			{"5 % loss", func(in *Input) { in.LossUpper95 = 0.05 }},
			{"IPv6", func(in *Input) { in.Family = results.IPv6 }},
		} {
			got := Recommend(with(tt.in, vary.change))
			if got.KeepaliveS == nil || *got.KeepaliveS != tt.want || !strings.HasPrefix(got.Basis, tt.basis) {
				t.Errorf("%s, %s: %s, want %d by %q", tt.name, vary.name, brief(got), tt.want, tt.basis)
			}
		}
	}
}

func brief(r results.Recommendation) string {
	k := "none"
	if r.KeepaliveS != nil {
		k = seconds(float64(*r.KeepaliveS), math.Round)
	}
	return k + " by " + r.Basis
}

func TestRecommend(t *testing.T) {
	for _, tt := range []struct {
		name      string
		in        Input
		want      int
		basis     string
		tolerates int
	}{
		{"lab 6/12, any WireGuard", timers(6, 6, 12), 4, "exchange", 1},
		{"lab 6/12, wireguard-go", with(timers(6, 6, 12), func(in *Input) { in.Tolerance.Lateness = LatenessExact }), 4, "exchange", 1},
		{"lab 6/12, wireguard-go next door", with(timers(6, 6, 12), func(in *Input) {
			in.Tolerance.Lateness = LatenessExact
			in.RTT = 0
		}), 5, "exchange", 1},
		{"Linux, wireguard-go", with(timers(30, 30, 120), func(in *Input) { in.Tolerance.Lateness = LatenessExact }), 28, "exchange", 3},
		{"brackets count from below", with(timers(30, 30, 120), func(in *Input) {
			in.Exchange.LowerS, in.Stream.LowerS = 29, 118
		}), 24, "exchange", 3},
		{"open as far as proven", with(timers(0, 0, 0), func(in *Input) {
			in.Oneway, in.Exchange, in.Stream = proven(360), proven(360), proven(360)
		}), 119, "rekey", 1},
		{"proven for a little", with(timers(0, 0, 0), func(in *Input) {
			in.Oneway, in.Exchange, in.Stream = proven(10), proven(10), proven(10)
		}), 3, "stream", 1},
		{"oneway not measured", with(timers(30, 30, 120), func(in *Input) { in.Oneway = Bounds{} }), 25, "exchange", 3},
		{"13 % loss asks for m = 2", with(timers(60, 60, 60), func(in *Input) { in.LossUpper95 = 0.13 }), 17, "stream", 2},
		{"m given", with(timers(180, 180, 180), func(in *Input) { in.Tolerance.Losses = 4 }), 31, "stream", 4},
		{"slack given", with(timers(30, 30, 120), func(in *Input) { in.Tolerance.Slack = 5 * time.Second }), 22, "exchange", 3},
		{"reachability binds", with(timers(30, 30, 60), func(in *Input) { in.Tolerance.Losses, in.Tolerance.Unreachable = 1, 1e-5 }), 17, "reachability", 2},
	} {
		got := Recommend(tt.in)
		if got.KeepaliveS == nil || *got.KeepaliveS != tt.want || !strings.HasPrefix(got.Basis, tt.basis+":") || got.ToleratesLosses != tt.tolerates {
			t.Errorf("%s: %s tolerating %d, want %d by %s tolerating %d",
				tt.name, brief(got), got.ToleratesLosses, tt.want, tt.basis, tt.tolerates)
		}
		if got.FallbackS != nil || got.Off {
			t.Errorf("%s: fallback %v, off %v beside an interval", tt.name, got.FallbackS, got.Off)
		}
	}
}

func TestRecommendDetails(t *testing.T) {
	got := Recommend(timers(30, 30, 120))
	if math.Abs(got.MarginS-(30-1.13*25-1.04)) > 1e-9 {
		t.Errorf("MarginS = %v, want %v", got.MarginS, 30-1.13*25-1.04)
	}
	if diff := cmp.Diff(CostPerDay(25, results.IPv4), got.CostPerDay); diff != "" {
		t.Errorf("CostPerDay (-want +got):\n%s", diff)
	}
	if got.Reachability != got.ReachabilityAt25 || got.Reachability < 0.999 {
		t.Errorf("Reachability %v, at 25 s %v; want the same, at least 0.999", got.Reachability, got.ReachabilityAt25)
	}
	if got := Recommend(timers(10, 10, 10)); got.ReachabilityAt25 > 0.4 {
		t.Errorf("25 s on a path of 10 s: reachability %v, want below 0.4", got.ReachabilityAt25)
	}
}

func TestRecommendOff(t *testing.T) {
	open := with(Input{}, func(in *Input) { in.Mapping, in.Filtering = "none", "endpoint-independent" })
	got := Recommend(open)
	if !got.Off || got.KeepaliveS == nil || *got.KeepaliveS != 0 || got.Reachability != 1 || got.CostPerDay != (results.Cost{}) {
		t.Errorf("no state on the path: %+v, want off", got)
	}
	for name, in := range map[string]Input{
		"a firewall":           with(open, func(in *Input) { in.Filtering = "address-and-port-dependent" }),
		"filtering not known":  with(open, func(in *Input) { in.Filtering = "" }),
		"a full-cone NAT":      with(open, func(in *Input) { in.Mapping = "endpoint-independent" }),
		"something expired":    with(open, func(in *Input) { in.Oneway = known(30) }),
		"only everything held": with(open, func(in *Input) { in.Filtering, in.Stream = "", proven(360) }),
	} {
		if got := Recommend(in); got.Off {
			t.Errorf("%s: off", name)
		}
	}
}

func TestRecommendWithoutEvidence(t *testing.T) {
	upper := func(s float64) Bounds { return Bounds{UpperS: &s} }
	for _, tt := range []struct {
		name     string
		in       Input
		fallback int
		reason   string
	}{
		{"nothing", Input{}, 25, "was not measured"},
		{"no exchange", with(timers(30, 30, 120), func(in *Input) { in.Exchange = Bounds{} }), 25, "just after its handshake stays open was not measured"},
		{"no stream", with(timers(30, 30, 120), func(in *Input) { in.Stream = Bounds{} }), 25, "that has carried traffic stays open was not measured"},
		{"no loss", with(timers(30, 30, 120), func(in *Input) { in.LossKnown = false }), 25, "the loss of the path was not measured"},
		{"only an upper bound", with(timers(30, 30, 120), func(in *Input) { in.Exchange = upper(20) }), 16, "only known to be below 20 s"},
		{"the known one is short", with(timers(30, 30, 10), func(in *Input) { in.Exchange = Bounds{} }), 3, "leaves possible"},
		{"too short for 1 s", timers(2, 2, 2), 1, "a keepalive each second would need 2.2 s, and only 2 s are proven for a tunnel just after"},
		{"too short for losses", timers(3, 3, 3), 1, "would need 3.3 s, and only 3 s are proven for a tunnel that has carried"},
		{"everything is lost", with(timers(30, 30, 120), func(in *Input) { in.LossUpper95 = 1 }), 25, "may lose every packet"},
		{"reachability beyond reach", with(timers(10, 10, 10), func(in *Input) {
			in.LossUpper95, in.Tolerance.Losses, in.Tolerance.Unreachable = 0.3, 1, 1e-9
		}), 3, "with up to 30 % of packets lost, even a keepalive each second leaves this side unreachable for more than 1e-07 %"},
		{"nonsense", with(timers(30, 30, 120), func(in *Input) { in.Stream.LowerS = math.NaN() }), 25, "the input is out of range: Stream.LowerS"},
	} {
		got := Recommend(tt.in)
		if got.KeepaliveS != nil || got.FallbackS == nil || *got.FallbackS != tt.fallback {
			t.Errorf("%s: %s with fallback %v, want none with fallback %d", tt.name, brief(got), got.FallbackS, tt.fallback)
		}
		if !strings.Contains(got.Reason, tt.reason) || !strings.HasPrefix(got.Basis, "fallback: ") {
			t.Errorf("%s: reason %q, basis %q; want %q in the reason", tt.name, got.Reason, got.Basis, tt.reason)
		}
	}
}

func TestAlternatives(t *testing.T) {
	type alt struct {
		Name      string
		K, Losses int
	}
	for _, tt := range []struct {
		name string
		in   Input
		want []alt
	}{
		{"Linux", timers(30, 30, 120), []alt{{"stricter", 12, 7}}},
		{"flat 120", timers(120, 120, 120), []alt{{"stricter", 35, 2}, {"thriftier", 105, 0}}},
		{"flat 300", timers(300, 300, 300), []alt{{"stricter", 88, 2}, {"long", 240, 5}}},
		{"flat 278", timers(278, 278, 278), []alt{{"stricter", 81, 2}, {"long", 240, 1}}},
		{"flat 277", timers(277, 277, 277), []alt{{"stricter", 81, 2}}},
		{"flat a day", timers(86400, 86400, 86400), []alt{{"long", 240, 17}}},
	} {
		got := []alt{}
		rec := Recommend(tt.in)
		for _, a := range rec.Alternatives {
			got = append(got, alt{a.Name, a.KeepaliveS, a.ToleratesLosses})
			if a.Why == "" || a.CostPerDay != CostPerDay(a.KeepaliveS, results.IPv4) || a.Reachability <= 0 {
				t.Errorf("%s: incomplete alternative %+v", tt.name, a)
			}
			if a.Name == "stricter" && a.Reachability < rec.Reachability {
				t.Errorf("%s: stricter reaches %v, less than %v", tt.name, a.Reachability, rec.Reachability)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestLossesInARow(t *testing.T) {
	for _, tt := range []struct {
		p, u float64
		want int
	}{{0, 1e-4, 1}, {0.01, 1e-3, 1}, {0.1, 0.01, 1}, {0.101, 0.0101, 2}, {0.3, 0.03, 2}, {0.5, 0.05, 4}, {1, 0.1, 1000}} {
		if got := lossesInARow(tt.p, tt.u); got != tt.want {
			t.Errorf("lossesInARow(%v, %v) = %d, want %d", tt.p, tt.u, got, tt.want)
		}
	}
}

func randomInput(rng *rand.Rand) Input {
	life := func() Bounds {
		s := 1 + 400*rng.Float64()*rng.Float64()
		if rng.IntN(3) == 0 {
			return proven(s)
		}
		return known(s)
	}
	in := Input{Oneway: life(), Exchange: life(), Stream: life(), LossKnown: true}
	in.LossUpper95 = rng.Float64() * rng.Float64() * 0.5
	in.RTT = time.Duration(rng.IntN(800)) * time.Millisecond
	if rng.IntN(2) == 0 {
		in.Tolerance.Lateness = LatenessExact
	}
	return in
}

// TestRecommendKeepsItsRules restates rules (a) to (c) and tries them on what
// comes out, and on one second more.
func TestRecommendKeepsItsRules(t *testing.T) {
	rng := rand.New(rand.NewPCG(19, 23))
	for range 2000 {
		in := randomInput(rng)
		got := Recommend(in)
		h := LatenessKernel
		if in.Tolerance.Lateness != 0 {
			h = in.Tolerance.Lateness
		}
		slack := 1 + in.RTT.Seconds()
		u := math.Max(1e-4, in.LossUpper95/10)
		m := 1.0
		for math.Pow(in.LossUpper95, m+1) > u {
			m++
		}
		path := Path{in.Oneway.LowerS, in.Exchange.LowerS, in.Stream.LowerS, in.LossUpper95, h, slack}
		meets := func(k int) bool {
			return h*float64(k)+slack <= in.Exchange.LowerS+1e-6 &&
				(m+1)*h*float64(k)+slack <= in.Stream.LowerS+1e-6 &&
				path.Reachability(k) >= 1-u-1e-6
		}
		if got.KeepaliveS == nil {
			if meets(1) && !meetsBarely(path, m, u) {
				t.Fatalf("%+v: no interval, but 1 s meets the rules", in)
			}
			continue
		}
		k := *got.KeepaliveS
		if k < 1 || k > 119 {
			t.Fatalf("%+v: interval %d", in, k)
		}
		if !meets(k) {
			t.Fatalf("%+v: %d s breaks a rule", in, k)
		}
		if got.ToleratesLosses < int(m) || got.MarginS < -1e-6 {
			t.Fatalf("%+v: tolerates %d of %v losses, margin %v", in, got.ToleratesLosses, m, got.MarginS)
		}
		if got.Reachability < 1-u-1e-6 {
			t.Fatalf("%+v: reachability %v", in, got.Reachability)
		}
		for _, a := range got.Alternatives {
			if a.KeepaliveS >= 120 && a.KeepaliveS != 240 {
				t.Fatalf("%+v: alternative %+v", in, a)
			}
		}
	}
}

// meetsBarely says whether 1 s is within rounding of breaking a rule.
func meetsBarely(path Path, m, u float64) bool {
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-5 }
	return near(path.Lateness+path.SlackS, path.Exchange) || near((m+1)*path.Lateness+path.SlackS, path.Stream) ||
		near(path.Reachability(1), 1-u)
}

// TestRecommendIsMonotone: a longer lifetime never shortens the interval.
func TestRecommendIsMonotone(t *testing.T) {
	rng := rand.New(rand.NewPCG(29, 31))
	interval := func(in Input) int {
		if k := Recommend(in).KeepaliveS; k != nil {
			return *k
		}
		return 0
	}
	for range 2000 {
		in := randomInput(rng)
		longer := in
		more := rng.Float64() * 60
		switch rng.IntN(3) {
		case 0:
			longer.Oneway = proven(in.Oneway.LowerS + more)
		case 1:
			longer.Exchange = proven(in.Exchange.LowerS + more)
		default:
			longer.Stream = proven(in.Stream.LowerS + more)
		}
		if a, b := interval(in), interval(longer); b < a {
			t.Fatalf("%+v gives %d s, but with a longer lifetime, %+v, %d s", in, a, longer, b)
		}
	}
}
