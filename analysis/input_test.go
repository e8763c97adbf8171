package analysis

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/natprobe/natprobe/results"
)

func TestInputFromRecord(t *testing.T) {
	s := func(v float64) *float64 { return &v }
	levels := 2
	rec := results.Record{
		ID: "r",
		Network: results.Network{Family: results.IPv6, Mapping: "none", Filtering: "address-and-port-dependent",
			NATLevels: &levels},
		Reflector: results.Reflector{RTTms: 12.5, Attested: true},
		Loss:      results.Loss{Sent: 100, Lost: 1, Rate: 0.01, Upper95: 0.047},
		Lifetimes: []results.Lifetime{
			{Regime: results.Solitary, LowerS: 1, UpperS: s(2)},
			{Regime: results.Exchange, LowerS: 29, UpperS: s(31)},
			{Regime: results.Exchange, Hop: 1, LowerS: 5, UpperS: s(6)},           // one hop is not the path
			{Regime: results.Exchange, Payload: "empty", LowerS: 3, UpperS: s(4)}, // another payload
			{Regime: results.Stream, DstPort: 3478, LowerS: 118, UpperS: nil},
			{Regime: results.Stream, DstPort: 53, LowerS: 28, UpperS: s(125)}, // another port may be used
		},
	}
	got, err := InputFromRecord(rec)
	if err != nil {
		t.Fatal(err)
	}
	want := Input{
		Exchange: Bounds{29, s(31)}, Stream: Bounds{28, s(125)},
		LossKnown: true, LossUpper95: 0.047, RTT: 12500 * time.Microsecond,
		Family: results.IPv6, Mapping: "none", Filtering: "address-and-port-dependent", NATLevels: &levels, Attested: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Input (-want +got):\n%s", diff)
	}

	if got, err := InputFromRecord(results.Record{}); err != nil || got.LossKnown || got.Exchange != (Bounds{}) {
		t.Errorf("an empty record: %+v, error %v; want nothing known", got, err)
	}
	rec.Lifetimes[1].LowerS = -1
	if _, err := InputFromRecord(rec); err == nil || !strings.Contains(err.Error(), "record r: Exchange.LowerS is -1 s") {
		t.Errorf("error %v, want one about Exchange.LowerS", err)
	}
}

func TestInputValidate(t *testing.T) {
	nan := func() float64 { zero := 0.0; return zero / zero }
	for _, tt := range []struct {
		field  string
		change func(*Input)
	}{
		{"Oneway.LowerS", func(in *Input) { in.Oneway.LowerS = nan() }},
		{"Exchange.LowerS", func(in *Input) { in.Exchange.LowerS = 1e9 }},
		{"Stream.UpperS", func(in *Input) { *in.Stream.UpperS = 1 }},
		{"LossUpper95", func(in *Input) { in.LossUpper95 = 1.1 }},
		{"RTT", func(in *Input) { in.RTT = -1 }},
		{"Tolerance.Lateness", func(in *Input) { in.Tolerance.Lateness = 0.9 }},
		{"Tolerance.Slack", func(in *Input) { in.Tolerance.Slack = -time.Second }},
		{"Tolerance.Losses", func(in *Input) { in.Tolerance.Losses = 101 }},
		{"Tolerance.Unreachable", func(in *Input) { in.Tolerance.Unreachable = nan() }},
	} {
		in := timers(30, 30, 120)
		if err := in.Validate(); err != nil {
			t.Fatalf("a good input: %v", err)
		}
		tt.change(&in)
		if err := in.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.field+" is ") {
			t.Errorf("error %v, want one about %s", err, tt.field)
		}
		if got := Recommend(in); got.KeepaliveS != nil || got.FallbackS == nil {
			t.Errorf("%s out of range: %s, want none and a fallback", tt.field, brief(got))
		}
	}
}
