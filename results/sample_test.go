package results

import "time"

// sampleRecord returns a valid record with every field set.
func sampleRecord() Record {
	ptr := func(v int) *int { return &v }
	yes, upper := true, 31.25
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cost := Cost{Packets: 5530, Bytes: 453427, Wakeups: 3456}
	return Record{
		Schema:    SchemaRecord,
		ID:        "00112233445566778899aabbccddeeff",
		StartedAt: start,
		EndedAt:   start.Add(2 * time.Minute),
		Tool:      Tool{Name: "natprobe", Version: "0.1.0", Commit: "abcdef", OS: "linux", Arch: "amd64"},
		Config:    map[string]any{"max": "6m"},
		Supplied:  map[string]any{"reflector": "192.0.2.1:3478"},
		Network: Network{Family: IPv4, Mapping: "endpoint-independent", Filtering: "address-and-port-dependent",
			PortPreservation: &yes, Hairpinning: &yes, InboundRefresh: &yes, NATLevels: ptr(1),
			Fingerprint: "f", Access: "dsl", ASN: ptr(64496), Country: "DE"},
		Reflector: Reflector{ID: "r", AddressClass: "public", RTTms: 12.5, BootID: "b", EgressGapS: 350, Attested: true},
		Lifetimes: []Lifetime{{Regime: Exchange, DstPort: 3478, Payload: "natprobe", LowerS: 29.5, UpperS: &upper,
			Shape: Sharp, Censored: CensoredNone, Cause: CauseNetwork, Trials: 2, Alive: 1, Expired: 1}},
		Loss: Loss{Sent: 300, Lost: 1, Rate: 1.0 / 300, Upper95: 0.0157, Inbound: &Loss{Sent: 300, Upper95: 0.01}},
		Recommendation: &Recommendation{KeepaliveS: ptr(25), FallbackS: nil, Basis: "a < b & c", ToleratesLosses: 3,
			Reachability: 0.999, Reason: "because", MarginS: 0.7, CostPerDay: cost, CostAt25: cost, ReachabilityAt25: 0.999,
			Alternatives: []Alternative{{Name: "stricter", KeepaliveS: 12, ToleratesLosses: 7, Reachability: 1, CostPerDay: cost, Why: "why"}}},
		Trials: []Trial{
			{Regime: Exchange, GapS: 30, MeasuredGapS: 29.5, BoundS: 29.5, Outcome: Alive, CopiesSent: 3, CopiesReceived: 3, Beacons: 3, StartedAt: start},
			{Regime: Exchange, GapS: 31, MeasuredGapS: 31, BoundS: 31.25, Outcome: Expired, Reason: ReasonNone, CopiesSent: 3, Beacons: 3, Remapped: true, StartedAt: start},
		},
		Effort: Effort{ElapsedS: 120, FirstBracketS: 100, PacketsSent: 4500, PacketsRecv: 4000, BytesSent: 900000, MaxMappings: 310, Rounds: 1},

		Complete: true,
		Events:   []Event{{AtS: 3, Reason: ReasonOutage, Detail: "5 s", Voided: 2}},
	}
}
