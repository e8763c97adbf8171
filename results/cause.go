package results

// Attribute says what expired where, by the egress gap that the reflector
// advertises (Reflector.EgressGapS): it sets the Cause of each lifetime, the
// Reason of each trial that expired beyond that gap, and Reflector.Attested. A
// timer of the reflector's own side is not below the gap, so what expired
// within it did so on the prober's side. Attributing again changes nothing.
func (r *Record) Attribute() {
	proven := r.Reflector.EgressGapS
	r.Reflector.Attested = proven > 0
	for i := range r.Lifetimes {
		l := &r.Lifetimes[i]
		switch {
		case l.UpperS == nil:
			l.Cause = CauseNone
		case *l.UpperS <= proven:
			l.Cause = CauseNetwork
		default:
			l.Cause = CausePath
			r.Reflector.Attested = false
		}
	}
	for i := range r.Trials {
		t := &r.Trials[i]
		switch {
		case t.Outcome == Expired && t.BoundS > proven:
			t.Reason = ReasonPath
		case t.Reason == ReasonPath: // an earlier run's, whose reflector advertised less
			t.Reason = ReasonNone
		}
	}
}
