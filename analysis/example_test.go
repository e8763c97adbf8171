package analysis_test

import (
	"fmt"
	"time"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/results"
)

// A stock Linux router: 30 s for a mapping that just shook hands, 120 s for
// one that has carried traffic. 300 probes arrived, all of them.
func ExampleRecommend() {
	exact := func(s float64) analysis.Bounds { return analysis.Bounds{LowerS: s, UpperS: &s} }
	rec := analysis.Recommend(analysis.Input{
		Oneway:      exact(30),
		Exchange:    exact(30),
		Stream:      exact(120),
		LossKnown:   true,
		LossUpper95: results.UpperBound95(0, 300),
		RTT:         40 * time.Millisecond,
	})
	fmt.Println("PersistentKeepalive =", *rec.KeepaliveS)
	fmt.Println(rec.Basis)
	fmt.Println("losses in a row:", rec.ToleratesLosses)
	fmt.Printf("%.0f packets a day\n", rec.CostPerDay.Packets)
	// Output:
	// PersistentKeepalive = 25
	// exchange: 1.13 × 25 s + 1.04 s ≤ 30 s
	// losses in a row: 3
	// 5530 packets a day
}

// Without evidence there is no recommendation, but something to go on with.
func ExampleRecommend_fallback() {
	rec := analysis.Recommend(analysis.Input{})
	fmt.Println(rec.KeepaliveS == nil, *rec.FallbackS)
	// Output: true 25
}

// What the usual 25 s means where mappings live for 30 s at most and one
// keepalive in ten is lost.
func ExamplePath_Reachability() {
	path := analysis.Path{Oneway: 30, Exchange: 30, Stream: 30, Loss: 0.1, Lateness: 1}
	for _, k := range []int{12, 25} {
		fmt.Printf("%d s: %.1f %%\n", k, 100*path.Reachability(k))
	}
	// Output:
	// 12 s: 99.5 %
	// 25 s: 91.8 %
}
