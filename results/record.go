package results

import "time"

// SchemaRecord names the format of a Record. Keys may be added to it; none is
// ever removed or changes its meaning.
const SchemaRecord = "natprobe.record/1"

// Record is one measurement of one network: everything that was asked for,
// seen and concluded. It is written as one JSON object, one per line in JSONL.
type Record struct {
	Schema    string    `json:"schema"`
	ID        string    `json:"id"` // 128 random bits in hexadecimal
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	// Resumes is the ID of an earlier record whose conclusive trials are among
	// Trials, those that began before StartedAt; empty where there is none.
	Resumes string `json:"resumes,omitempty"`

	Tool     Tool           `json:"tool"`
	Config   map[string]any `json:"config"`   // effective settings, by flag name
	Supplied map[string]any `json:"supplied"` // settings as the user gave them

	Network   Network   `json:"network"`
	Reflector Reflector `json:"reflector"`

	Lifetimes      []Lifetime      `json:"lifetimes"` // one per regime asked for
	Loss           Loss            `json:"loss"`
	Recommendation *Recommendation `json:"recommendation"`
	Trials         []Trial         `json:"trials"`
	Effort         Effort          `json:"effort"`

	// Complete is false where the run was interrupted or ran out of budget
	// before each regime had its first bracket.
	Complete bool `json:"complete"`
	// Events lists what happened to the network or the reflector during the
	// run, in order of time.
	Events []Event `json:"events,omitempty"`
}

// Tool identifies the program that made a record.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// Family is the address family that was measured.
type Family string

// The address families.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// Network describes the network that was measured, in the words of RFC 4787.
// A field that was not measured is empty or null.
type Network struct {
	Family           Family `json:"family"`
	Mapping          string `json:"mapping"`   // endpoint-independent, address-dependent, address-and-port-dependent, none
	Filtering        string `json:"filtering"` // the same words
	PortPreservation *bool  `json:"port_preservation"`
	Hairpinning      *bool  `json:"hairpinning"`
	InboundRefresh   *bool  `json:"inbound_refresh"`
	NATLevels        *int   `json:"nat_levels"`
	Fingerprint      string `json:"fingerprint"`
	Access           string `json:"access"`
	ASN              *int   `json:"asn"`
	Country          string `json:"country"`
}

// Reflector describes the reflector that was used.
type Reflector struct {
	ID           string  `json:"id"`
	AddressClass string  `json:"address_class"` // loopback, private, public
	RTTms        float64 `json:"rtt_ms"`        // smallest round-trip time seen, milliseconds
	BootID       string  `json:"boot_id"`
	// EgressGapS is the longest silence, in seconds, after which packets of the
	// reflector left its own network unaided, as it advertises; 0: not proven.
	EgressGapS float64 `json:"egress_gap_s"`
	// Attested is true where no lifetime has the cause path: nothing that
	// expired can be a timer of the reflector's own side, by what it advertises.
	// Datasets of NATs have no place for others.
	Attested bool `json:"attested"`
}

// Regime is the traffic that a mapping saw before its silence. A NAT may keep
// a different timer for each.
type Regime string

// The regimes.
const (
	Solitary Regime = "solitary" // one outbound packet, nothing inbound
	Oneway   Regime = "oneway"   // two or more outbound packets, nothing inbound
	Exchange Regime = "exchange" // request, reply, one more outbound packet, within 1.5 s
	Stream   Regime = "stream"   // round trips over more than 3 s, one more outbound packet
)

// Regimes returns all regimes in their order of presentation.
func Regimes() []Regime { return []Regime{Solitary, Oneway, Exchange, Stream} }

// Shape says whether the outcomes of a regime part at one gap or interleave.
type Shape string

// The shapes.
const (
	Sharp Shape = "sharp" // every conclusive trial below lived, every one above expired
	Band  Shape = "band"  // outcomes interleave, and repeats confirm it
)

// Censoring says on which side a bracket is open.
type Censoring string

// The kinds of censoring.
const (
	CensoredNone  Censoring = "none"
	CensoredLeft  Censoring = "left"  // nothing lived below what expired: only an upper bound is known
	CensoredRight Censoring = "right" // no trial expired above the longest alive: only a lower bound is known
)

// Cause says on which part of the path the timer runs that ended a mapping.
type Cause string

// The causes.
const (
	CauseNone Cause = "" // nothing expired
	// CauseNetwork is the prober's side of the path: the reflector's own side is
	// proven to wait longer than all of the bracket.
	CauseNetwork Cause = "network"
	// CausePath is anywhere on the path. It may be a firewall of the reflector's
	// own, whose egress is not proven for as long: no NAT is to blame, and no
	// dataset of NATs has a place for it.
	CausePath Cause = "path"
)

// Lifetime is the bracket [LowerS, UpperS) of one regime's mapping lifetime,
// with the counts of the trials that it rests on.
type Lifetime struct {
	Regime       Regime    `json:"regime"`
	DstPort      int       `json:"dst_port"`
	Payload      string    `json:"payload"`
	Hop          int       `json:"hop"`     // 0: the whole path
	LowerS       float64   `json:"lower_s"` // seconds
	UpperS       *float64  `json:"upper_s"` // seconds; null where right-censored
	Shape        Shape     `json:"shape"`
	Censored     Censoring `json:"censored"`
	Cause        Cause     `json:"cause"`
	Trials       int       `json:"trials"`
	Alive        int       `json:"alive"`
	Expired      int       `json:"expired"`
	Inconclusive int       `json:"inconclusive"`
}

// Loss is the packet loss of the path, outbound (prober to reflector), without
// the silences under test.
type Loss struct {
	Sent    int     `json:"sent"`
	Lost    int     `json:"lost"`
	Rate    float64 `json:"rate"`    // 0 to 1
	Upper95 float64 `json:"upper95"` // one-sided upper 95 % bound of the rate, 0 to 1
	// Inbound is the same for the direction from the reflector to the prober.
	Inbound *Loss `json:"inbound,omitempty"`
}

// Outcome is what one trial showed.
type Outcome string

// The outcomes.
const (
	Alive        Outcome = "alive"
	Expired      Outcome = "expired"
	Inconclusive Outcome = "inconclusive"
)

// Reason says why a trial is inconclusive, or what qualifies its outcome.
type Reason string

// The reasons.
const (
	ReasonNone             Reason = ""
	ReasonOrderLost        Reason = "order lost"             // the reflector never got the order
	ReasonSetupLost        Reason = "setup lost"             // the round trips before the order failed or took too long
	ReasonBurstUnconfirmed Reason = "burst unconfirmed"      // too few beacons arrived, or the reflector can't say that the burst left
	ReasonLateCopy         Reason = "copy after check"       // a copy came only after the check had reopened the mapping
	ReasonCheckFailed      Reason = "check failed"           // the flow did not work any more, mapping or not
	ReasonDuplicated       Reason = "order duplicated"       // the network delivered the order more than once
	ReasonNATReboot        Reason = "nat lost its state"     // sentinels died together
	ReasonRestart          Reason = "reflector restarted"    // boot id changed
	ReasonOutage           Reason = "outage"                 // the control flow was cut
	ReasonAddressChange    Reason = "address changed"        // the control flow's external address changed
	ReasonSuspend          Reason = "suspended"              // the machine slept
	ReasonRefused          Reason = "refused"                // the reflector refused the order
	ReasonLoss             Reason = "loss too high to judge" // a burst of the largest size may be lost as a whole
	ReasonDisputed         Reason = "disputed"               // expired below an alive, and repeats did not confirm it
	ReasonStray            Reason = "stray packet"           // a packet of somebody else, or an answer that nobody here asked for, came in during the silence, and may have refreshed the mapping
	ReasonReused           Reason = "external port reused"   // another flow had the same external address a short time ago, and may have left its state on the path
	ReasonUnwitnessed      Reason = "no witness"             // no flow that lived covers the silence, so the NAT may have lost its state
	ReasonEarlier          Reason = "earlier record refuted" // what it showed is not true of this path now
	ReasonPressure         Reason = "table pressure"         // the NAT had no room for more flows, and may have dropped idle ones
	ReasonSocket           Reason = "socket failed"          // this machine could not send
	ReasonPath             Reason = "path"                   // expired beyond the reflector's egress gap: its own side may have done that, see CausePath
	ReasonReached          Reason = "keepalive went too far" // a keepalive that was to die on the way was answered by the reflector
)

// Trial is one flow that was left silent for a gap and then tested.
type Trial struct {
	Regime Regime `json:"regime"`
	// GapS is the intended gap in seconds. Repeats of a trial have the same.
	GapS float64 `json:"gap_s"`
	// MeasuredGapS is the silence in seconds that the reflector timed: up to
	// its first copy for an alive trial, up to its last for an expired one.
	MeasuredGapS float64 `json:"measured_gap_s"`
	// BoundS is what the outcome proves, in seconds, by the reflector's clock and this
	// side's: the lifetime is at least BoundS (alive) or below it (expired, the largest
	// RTT included). It is 0 where the trial is inconclusive.
	BoundS         float64   `json:"bound_s"`
	Outcome        Outcome   `json:"outcome"`
	Reason         Reason    `json:"reason"`
	CopiesSent     int       `json:"copies_sent"`
	CopiesReceived int       `json:"copies_received"`
	Beacons        int       `json:"beacons"`
	Remapped       bool      `json:"remapped"` // the check left from another external address than the order
	StartedAt      time.Time `json:"started_at"`
}

// Recommendation is the PersistentKeepalive that follows from the lifetimes.
type Recommendation struct {
	KeepaliveS *int   `json:"keepalive_s"` // seconds; 0: off; null where the evidence does not suffice
	FallbackS  *int   `json:"fallback_s"`  // seconds, where KeepaliveS is null
	Basis      string `json:"basis"`       // the binding rule
	// ToleratesLosses is how many keepalives in a row may be lost.
	ToleratesLosses int `json:"tolerates_losses"`
	// Reachability is the expected share of time, 0 to 1, in which the peer
	// can reach this side.
	Reachability float64       `json:"reachability"`
	Off          bool          `json:"off"` // nothing on the path needs a keepalive
	Reason       string        `json:"reason"`
	MarginS      float64       `json:"margin_s"` // seconds left under the binding bound
	Alternatives []Alternative `json:"alternatives"`
	CostPerDay   Cost          `json:"cost_per_day"`
	// CostAt25 is the cost of the usual 25 s, for comparison.
	CostAt25 Cost `json:"cost_at_25_s"`
	// ReachabilityAt25 is the expected reachability of the usual 25 s here.
	ReachabilityAt25 float64 `json:"reachability_at_25_s"`
}

// Alternative is another interval with what speaks for it.
type Alternative struct {
	Name            string  `json:"name"` // stricter, thriftier, long
	KeepaliveS      int     `json:"keepalive_s"`
	ToleratesLosses int     `json:"tolerates_losses"`
	Reachability    float64 `json:"reachability"`
	CostPerDay      Cost    `json:"cost_per_day"`
	Why             string  `json:"why"`
}

// Cost is what an idle tunnel with an interval spends in a day.
type Cost struct {
	Packets float64 `json:"packets"` // sent and received by this side
	Bytes   float64 `json:"bytes"`   // of those packets, IP headers included
	Wakeups float64 `json:"wakeups"` // moments at which the radio or CPU must wake
}

// Effort is what the measurement spent.
type Effort struct {
	ElapsedS      float64 `json:"elapsed_s"`
	FirstBracketS float64 `json:"first_bracket_s"` // when each regime had its bracket; 0 where one has none
	PacketsSent   int     `json:"packets_sent"`
	PacketsRecv   int     `json:"packets_received"`
	BytesSent     int     `json:"bytes_sent"` // IP headers included
	MaxMappings   int     `json:"max_mappings"`
	Rounds        int     `json:"rounds"`
}

// Event is something that happened to the network under measurement.
type Event struct {
	AtS    float64 `json:"at_s"`   // seconds since the start of the run
	Reason Reason  `json:"reason"` // what happened, in the words of a trial's reason
	Detail string  `json:"detail"` // for a person
	Voided int     `json:"voided"` // how many trials it voided
}
