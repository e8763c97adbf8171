package results

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	if err := sampleRecord().Validate(); err != nil {
		t.Errorf("the sample: %v", err)
	}
	nothing := Record{Schema: SchemaRecord, ID: NewID(), StartedAt: time.Unix(1, 0), EndedAt: time.Unix(1, 0)}
	if err := nothing.Validate(); err != nil {
		t.Errorf("a record that measured nothing: %v", err)
	}

	for _, tt := range []struct {
		field string
		spoil func(*Record)
	}{
		{"schema", func(r *Record) { r.Schema = "" }},
		{"id", func(r *Record) { r.ID = "xyz" }},
		{"id", func(r *Record) { r.ID += "00" }},
		{"started_at", func(r *Record) { r.StartedAt = time.Time{} }},
		{"ended_at", func(r *Record) { r.EndedAt = time.Time{} }},
		{"network.family", func(r *Record) { r.Network.Family = "ipx" }},
		{"network.mapping", func(r *Record) { r.Network.Mapping = "symmetric" }},
		{"network.filtering", func(r *Record) { r.Network.Filtering = "none" }},
		{"network.nat_levels", func(r *Record) { *r.Network.NATLevels = -1 }},
		{"network.asn", func(r *Record) { *r.Network.ASN = -1 }},
		{"reflector.rtt_ms", func(r *Record) { r.Reflector.RTTms = math.NaN() }},
		{"lifetimes[0].regime", func(r *Record) { r.Lifetimes[0].Regime = "dream" }},
		{"lifetimes[0].dst_port", func(r *Record) { r.Lifetimes[0].DstPort = 65536 }},
		{"lifetimes[0].hop", func(r *Record) { r.Lifetimes[0].Hop = -1 }},
		{"lifetimes[0].lower_s", func(r *Record) { r.Lifetimes[0].LowerS = math.Inf(1) }},
		{"lifetimes[0].upper_s", func(r *Record) { *r.Lifetimes[0].UpperS = r.Lifetimes[0].LowerS }},
		{"lifetimes[0].upper_s", func(r *Record) { *r.Lifetimes[0].UpperS = 1e9 }},
		{"lifetimes[0].shape", func(r *Record) { r.Lifetimes[0].Shape = "round" }},
		{"lifetimes[0].censored", func(r *Record) { r.Lifetimes[0].Censored = "top" }},
		{"lifetimes[0].censored", func(r *Record) { r.Lifetimes[0].Censored = CensoredRight }},
		{"lifetimes[0].censored", func(r *Record) { r.Lifetimes[0].UpperS = nil }},
		{"lifetimes[0].alive", func(r *Record) { r.Lifetimes[0].Alive = -1 }},
		{"lifetimes[0].trials", func(r *Record) { r.Lifetimes[0].Trials = 1 }},
		{"lifetimes[0].trials", func(r *Record) { r.Lifetimes[0].Alive = math.MaxInt }},
		{"loss.sent", func(r *Record) { r.Loss.Sent = -1 }},
		{"loss.lost", func(r *Record) { r.Loss.Lost = 301 }},
		{"loss.rate", func(r *Record) { r.Loss.Rate = 1.5 }},
		{"loss.inbound.upper95", func(r *Record) { r.Loss.Inbound.Upper95 = -0.1 }},
		{"recommendation.keepalive_s", func(r *Record) { *r.Recommendation.KeepaliveS = 65536 }},
		{"recommendation.fallback_s", func(r *Record) { r.Recommendation.KeepaliveS = nil }},
		{"recommendation.reachability", func(r *Record) { r.Recommendation.Reachability = 2 }},
		{"recommendation.cost_per_day.bytes", func(r *Record) { r.Recommendation.CostPerDay.Bytes = math.NaN() }},
		{"recommendation.alternatives[0].keepalive_s", func(r *Record) { r.Recommendation.Alternatives[0].KeepaliveS = -1 }},
		{"trials[1].regime", func(r *Record) { r.Trials[1].Regime = "" }},
		{"trials[1].gap_s", func(r *Record) { r.Trials[1].GapS = math.NaN() }},
		{"trials[0].outcome", func(r *Record) { r.Trials[0].Outcome = "perhaps" }},
		{"trials[0].copies_received", func(r *Record) { r.Trials[0].CopiesReceived = -1 }},
		{"effort.elapsed_s", func(r *Record) { r.Effort.ElapsedS = -1 }},
		{"effort.rounds", func(r *Record) { r.Effort.Rounds = -1 }},
		{"events[0].at_s", func(r *Record) { r.Events[0].AtS = -1 }},
	} {
		r := sampleRecord()
		tt.spoil(&r)
		err := r.Validate()
		var got *FieldError
		if !errors.As(err, &got) || got.Field != tt.field {
			t.Errorf("error %v, want one about %s", err, tt.field)
		} else if !strings.HasPrefix(err.Error(), tt.field+" ") {
			t.Errorf("error %q does not begin with the field", err)
		}
	}
}
