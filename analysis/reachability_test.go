package analysis

import (
	"math"
	"math/rand/v2"
	"testing"
)

// simulate plays the tunnel keepalive by keepalive and returns the share of
// time for which the peer reached this side. It knows the rules of the
// mapping only, none of the sums.
func simulate(path Path, keepaliveS, keepalives int, rng *rand.Rand) float64 {
	tau := path.Lateness * float64(keepaliveS)
	life := map[string]float64{
		"oneway":   math.Max(0, path.Oneway-path.SlackS),
		"exchange": math.Max(0, path.Exchange-path.SlackS),
		"stream":   math.Max(0, path.Stream-path.SlackS),
	}
	state, silent, keyAge := "exchange", 0.0, 0.0
	var reachable, total float64
	for range keepalives {
		alive := math.Max(0, math.Min(tau, life[state]-silent))
		reachable += alive
		total += tau
		silent += tau
		keyAge += tau
		if rng.Float64() < path.Loss {
			continue
		}
		handshake := keyAge >= 120-1e-9
		switch dead := silent > life[state]+1e-9; {
		case handshake && (dead || state == "oneway"):
			state = "exchange"
		case dead:
			state = "oneway"
		case state == "exchange":
			state = "stream"
		}
		if handshake {
			keyAge = 0
		}
		silent = 0
	}
	return reachable / total
}

// TestReachabilityAgainstSimulation compares the solution with 400,000
// simulated keepalives each. The tolerance of 0.004 is four standard errors
// or more: each silence adds at most one independent value between 0 and 1,
// and states last for a few dozen silences where they alternate.
func TestReachabilityAgainstSimulation(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	for _, tt := range []struct {
		name       string
		path       Path
		keepaliveS int
	}{
		{"Linux at 25 s", Path{30, 30, 120, 0.1, 1.13, 1.05}, 25},
		{"Linux at 26 s, fresh tunnels die", Path{30, 30, 120, 0.1, 1.13, 1.05}, 26},
		{"Linux at 40 s", Path{30, 30, 120, 0.3, 1.13, 1.05}, 40},
		{"flat 30 s at 25 s", Path{30, 30, 30, 0.2, 1.13, 1.05}, 25},
		{"flat 30 s at 12 s", Path{30, 30, 30, 0.2, 1.13, 1.05}, 12},
		{"flat 60 s at 119 s", Path{60, 60, 60, 0.1, 1.13, 1.05}, 119},
		{"pf", Path{30, 60, 60, 0.25, 1, 1.05}, 25},
		{"short oneway", Path{5, 30, 120, 0.4, 1.13, 1.05}, 25},
		{"short stream", Path{100, 90, 40, 0.2, 1, 0}, 30},
		{"heavy loss", Path{30, 60, 180, 0.8, 1, 0}, 20},
		{"no loss", Path{30, 30, 120, 0, 1.13, 1.05}, 25},
		{"no loss, too long", Path{30, 30, 120, 0, 1.13, 1.05}, 60},
		{"one second", Path{3, 3, 4, 0.3, 1.13, 0}, 1},
		{"a handshake each", Path{200, 200, 300, 0.2, 1, 0}, 150},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.path.Reachability(tt.keepaliveS)
			want := simulate(tt.path, tt.keepaliveS, 400_000, rng)
			if math.Abs(got-want) > 0.004 {
				t.Errorf("Reachability = %.5f, simulated %.5f", got, want)
			}
		})
	}
}

func TestReachabilityByHand(t *testing.T) {
	const p = 0.1
	flat := func(life float64) Path { return Path{life, life, life, p, 1, 0} }
	for _, tt := range []struct {
		name       string
		path       Path
		keepaliveS int
		want       float64
	}{
		{"off", flat(100), 0, 0},
		{"all lost", Path{30, 30, 30, 1, 1, 0}, 10, 0},
		{"nothing proven", flat(0), 25, 0},
		{"slack eats it all", Path{1, 1, 1, p, 1, 1}, 25, 0},
		{"no loss, in time", Path{30, 30, 30, 0, 1, 0}, 30, 1},
		{"no loss, half the time", Path{30, 30, 30, 0, 1, 0}, 60, 0.5},
		// Each arrival gives 30 of on average 60/(1-p) s.
		{"flat, always too late", flat(30), 60, 0.5 * (1 - p)},
		// Each arrival: 30 s, or 40 s after a loss; 30/(1-p) s on average.
		{"flat, a bit longer", flat(40), 30, (30*(1-p) + 40*p) * (1 - p) / 30},
	} {
		if got := tt.path.Reachability(tt.keepaliveS); math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("%s: Reachability = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestReachabilityNeverStream: where each fresh mapping dies before its first
// keepalive, the long life of a stream, which no rounding error may reach,
// does not help.
func TestReachabilityNeverStream(t *testing.T) {
	path := Path{Oneway: 10, Exchange: 10, Stream: 3600, Loss: 0.01, Lateness: 1}
	if got, want := path.Reachability(20), 0.5*0.99; math.Abs(got-want) > 1e-9 {
		t.Errorf("Reachability = %v, want %v", got, want)
	}
}

func TestReachabilityLong(t *testing.T) {
	// A silence of 240 s, then retries each 5.334 s: two may be lost here.
	path := Path{Oneway: 251, Exchange: 251, Stream: 251, Loss: 0.1, Lateness: 1}
	mean := 240 + handshakeRetryS*0.1/0.9
	held := 0.9*240 + 0.09*(240+handshakeRetryS) + 0.009*(240+2*handshakeRetryS) + 0.001*251
	if got, want := path.reachabilityLong(240), held/mean; math.Abs(got-want) > 1e-12 {
		t.Errorf("reachabilityLong = %v, want %v", got, want)
	}
}

func TestReachabilityIsAShare(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 17))
	for range 3000 {
		path := Path{rng.Float64() * 300, rng.Float64() * 300, rng.Float64() * 300, rng.Float64(), 1 + rng.Float64()/4, rng.Float64() * 2}
		for _, k := range []int{1 + rng.IntN(240), 25} {
			if got := path.Reachability(k); !(got >= 0 && got <= 1) {
				t.Fatalf("%+v at %d s: Reachability = %v", path, k, got)
			}
		}
	}
}
