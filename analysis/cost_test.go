package analysis

import (
	"fmt"
	"math"
	"testing"

	"github.com/natprobe/natprobe/results"
)

func TestCostPerDay(t *testing.T) {
	for _, tt := range []struct {
		keepaliveS int
		family     results.Family
		packets    float64 // as seen on wireguard-go, rounded to whole packets
		bytes      float64 // of one cycle, times cycles a day
		wakeups    float64
	}{
		{25, results.IPv4, 5530, 691.2 * (6*60 + 176 + 120), 3456},
		{119, results.IPv4, 1452, 86400.0 / 238 * (2*60 + 176 + 120), 86400.0 / 119},
		{150, results.IPv4, 2304, 576 * (2*60 + 176 + 120), 576},
		{240, results.IPv4, 1080, 360 * (60 + 176 + 120), 360},
		{25, results.IPv6, 5530, 691.2 * (6*80 + 196 + 140), 3456},
		{25, "", 5530, 691.2 * (6*60 + 176 + 120), 3456},
		{60, results.IPv4, 3600, 720 * (3*60 + 176 + 120), 1440},
		{0, results.IPv4, 0, 0, 0},
	} {
		got := CostPerDay(tt.keepaliveS, tt.family)
		if math.Round(got.Packets) != tt.packets || math.Abs(got.Bytes-tt.bytes) > 1e-6 || math.Abs(got.Wakeups-tt.wakeups) > 1e-9 {
			t.Errorf("CostPerDay(%d, %q) = %+v, want %v packets, %v bytes, %v wakeups",
				tt.keepaliveS, tt.family, got, tt.packets, tt.bytes, tt.wakeups)
		}
	}
}

// TestCostOfRekeying: from 120 to 179 s an interval costs more packets than
// 119 s does, which is why none of them is ever recommended.
func TestCostOfRekeying(t *testing.T) {
	at119 := CostPerDay(119, results.IPv4).Packets
	for k := 120; k < 180; k++ {
		if got := CostPerDay(k, results.IPv4).Packets; got <= at119 {
			t.Errorf("%d s costs %.0f packets a day, not more than the %.0f of 119 s", k, got, at119)
		}
	}
	if got := CostPerDay(240, results.IPv4).Packets; got >= at119 {
		t.Errorf("240 s costs %.0f packets a day, not fewer than the %.0f of 119 s", got, at119)
	}
}

func ExampleCostPerDay() {
	for _, k := range []int{25, 119} {
		c := CostPerDay(k, results.IPv4)
		fmt.Printf("%d s: %.0f packets, %.0f kB and %.0f wake-ups a day\n", k, c.Packets, c.Bytes/1000, c.Wakeups)
	}
	// Output:
	// 25 s: 5530 packets, 453 kB and 3456 wake-ups a day
	// 119 s: 1452 packets, 151 kB and 726 wake-ups a day
}
