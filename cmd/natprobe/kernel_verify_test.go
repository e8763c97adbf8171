package main_test

import (
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// TestKernelVerify tries intervals below and above the timers of a kernel NAT.
func TestKernelVerify(t *testing.T) {
	t.Parallel()
	spec, err := natlab.Find("fast") // 6 s, and 12 s for streams
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		interval time.Duration
		regimes  []results.Regime
		loss     float64
		want     results.Verdict
	}{
		{"4 s", 4 * time.Second, nil, 0, results.Holds},
		{"4 s with loss", 4 * time.Second, nil, 0.05, results.Holds},
		{"8 s", 8 * time.Second, nil, 0, results.Fails},
		{"8 s in use", 8 * time.Second, []results.Regime{results.Stream}, 0, results.Holds},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			spec := spec
			spec.Loss = test.loss
			n := startKernelNet(t, spec)
			s := probe.Soaker{Listen: n.ClientListen, Config: probe.SoakConfig{
				Reflector: n.reflectorAddr(), Interval: test.interval, Regimes: test.regimes,
				Target: 0.9, Flows: 20, Budget: 90 * time.Second,
			}}
			v, err := s.Soak(t.Context())
			if err != nil {
				t.Fatalf("Soak: %v", err)
			}
			t.Logf("%s after %.1f s: %+v, unknown for %v", v.Verdict, v.Effort.ElapsedS, v.Regimes, v.Reasons)
			for _, r := range v.Regimes {
				lives := r.Regime == results.Stream || test.interval < 6*time.Second
				if lives && r.Missed > 0 || !lives && r.Reached > 0 {
					t.Errorf("%s: %d reached, %d missed; events %+v", r.Regime, r.Reached, r.Missed, v.Events)
				}
			}
			for _, e := range v.Events {
				if e.Reason == results.ReasonSuspend {
					t.Logf("this machine is too busy to judge the verdict: %+v", v.Events)
					return
				}
			}
			if v.Verdict != test.want {
				t.Errorf("verdict %s, want %s; events %+v", v.Verdict, test.want, v.Events)
			}
		})
	}
}
