package results

import "time"

// SchemaCheck names the form of a Check.
const SchemaCheck = "natprobe.check/1"

// CheckVerdict says whether a reflector works.
type CheckVerdict string

// The verdicts on a reflector.
const (
	CheckWorks     CheckVerdict = "works"     // all that was asked for
	CheckFails     CheckVerdict = "fails"     // something doesn't; Problems says what
	CheckUndecided CheckVerdict = "undecided" // nothing fails, but Unknown could not be tried or judged
)

// Check is what an operator learns of a reflector from outside.
type Check struct {
	Schema    string    `json:"schema"`
	ID        string    `json:"id"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	Tool      Tool      `json:"tool"`

	Config   map[string]any `json:"config"`   // settings in force, by flag name
	Supplied map[string]any `json:"supplied"` // settings as the user gave them

	Target   string       `json:"target"` // the reflector as its user named it
	Verdict  CheckVerdict `json:"verdict"`
	Problems []string     `json:"problems"` // what doesn't work
	Unknown  []string     `json:"unknown"`  // what could not be tried or judged
	// EgressGapS is what the reflector may advertise, in whole seconds: what is
	// proven for each of its addresses. 0: nothing.
	EgressGapS float64          `json:"egress_gap_s"`
	Addresses  []CheckedAddress `json:"addresses"`
}

// CheckedAddress is one of the addresses that the reflector's name has.
type CheckedAddress struct {
	Address string `json:"address"` // with its port
	Family  Family `json:"family"`
	Tried   bool   `json:"tried"` // false where this machine has no route there
	Error   string `json:"error"` // why the check ended early; empty: it didn't
	// Ports has the address itself first, then those that OTHER-ADDRESS (RFC
	// 5780) tells of.
	Ports  []CheckedPort  `json:"ports"`
	Limits *GrantedLimits `json:"limits"` // null where no natprobe reflector answered
	Egress *Egress        `json:"egress"` // likewise
	RTTms  float64        `json:"rtt_ms"` // the smallest seen
	Loss   Loss           `json:"loss"`
	Events []Event        `json:"events,omitempty"`
	Effort Effort         `json:"effort"`
}

// CheckedPort is an address and port and what it answers.
type CheckedPort struct {
	Address   string  `json:"address"`
	Alternate bool    `json:"alternate"`
	STUN      bool    `json:"stun"`     // a plain Binding request
	Natprobe  bool    `json:"natprobe"` // a prober's first request
	RTTms     float64 `json:"rtt_ms"`   // of the first answer; 0: none
}

// GrantedLimits are what a reflector says that it grants.
type GrantedLimits struct {
	DelayS  float64 `json:"delay_s"` // longest
	Copies  int     `json:"copies"`  // in a burst
	Pending int     `json:"pending"` // orders from one address
	PPS     int     `json:"pps"`     // packets a second from one address; 0: no limit
}
