package results

// EgressVerdict says whether a reflector's own side lets packets out after long
// silences.
type EgressVerdict string

// The verdicts on an egress.
const (
	// EgressProven: they came out after each silence up to the longest asked for.
	EgressProven EgressVerdict = "proven"
	// EgressShort: they don't. The box that forgets is at the reflector's end of
	// the path, and outside of what the checker declared its own.
	EgressShort EgressVerdict = "short"
	// EgressUndecided: they didn't come, and it may be the checker's own side,
	// or too little is known.
	EgressUndecided EgressVerdict = "undecided"
)

// Egress is what a check from outside shows of a reflector: the longest silence
// after which what it sends comes out with no state to help on its own side.
type Egress struct {
	Verdict     EgressVerdict `json:"verdict"`
	AskedS      float64       `json:"asked_s"`      // the longest silence tried
	ProvenS     float64       `json:"proven_s"`     // whole seconds; 0: none
	AdvertisedS float64       `json:"advertised_s"` // what the reflector says itself; 0: nothing

	// Translated is true where the reflector sees another address or port than
	// the checker's own; null where the checker doesn't know its own.
	Translated *bool `json:"translated"`
	// Hops is how far away the reflector is: the smallest TTL that reaches it; 0
	// where that can't be told.
	Hops int `json:"hops"`
	// KeptHops is how many hops from the checker keepalives reached during the
	// silences. The boxes up to there had help, all beyond had none. 0: no
	// keepalives.
	KeptHops int `json:"kept_hops"`
	// HopLimits is false where this machine can't send packets that die on the
	// way, so that it can neither help its own side nor tell whose timer it is.
	HopLimits bool `json:"hop_limits"`

	// ExpiredS is the shortest silence, in seconds, from which on nothing came
	// out; null: all did.
	ExpiredS *float64 `json:"expired_s"`
	// ExpiredHop is the hop, counted from the checker, of the box that forgot;
	// Hops means the reflector's machine itself. 0: not known.
	ExpiredHop int `json:"expired_hop"`

	Lifetimes []Lifetime `json:"lifetimes"` // by regime, with the help of KeptHops
	Clock     *Drift     `json:"clock"`     // null where no burst came
}

// Drift is how much faster a reflector's monotonic clock runs than the
// checker's.
type Drift struct {
	PPM      float64 `json:"ppm"`       // parts in a million; below 0: slower
	ErrorPPM float64 `json:"error_ppm"` // ±, from how much round trips varied
	GapS     float64 `json:"gap_s"`     // the longest silence that both timed
}
