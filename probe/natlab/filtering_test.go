package natlab

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFilteringTruth checks what lifetimes boxes have that let in what belongs to
// no flow.
func TestFilteringTruth(t *testing.T) {
	const s = time.Second
	for notation, want := range map[string]Timers{
		"nat:6s/12s,filtering=endpoint-independent":                          {},
		"nat:6s/12s,filtering=address-dependent":                             {12 * s, 12 * s, 12 * s, 12 * s},
		"nat:12s/6s,filtering=address-dependent":                             {12 * s, 12 * s, 12 * s, 6 * s},
		"firewall:6s/12s,filtering=endpoint-independent,family=ipv6":         {},
		"firewall:6s/12s,filtering=address-dependent,family=ipv6":            {12 * s, 12 * s, 12 * s, 12 * s},
		"nat:6s/12s+nat:3s/9s,filtering=endpoint-independent":                {6 * s, 6 * s, 6 * s, 12 * s},
		"nat:3s/9s,filtering=endpoint-independent+nat:6s/12s":                {6 * s, 6 * s, 6 * s, 12 * s},
		"nat:6s/12s+nat:3s/9s,filtering=address-dependent":                   {6 * s, 6 * s, 6 * s, 9 * s},
		"nat,filtering=endpoint-independent+nat,filtering=address-dependent": {120 * s, 120 * s, 120 * s, 120 * s},
	} {
		spec, err := ParseSpec(notation)
		if err != nil {
			t.Errorf("%s: %v", notation, err)
			continue
		}
		if diff := cmp.Diff(want, spec.Truth()); diff != "" {
			t.Errorf("%s: Truth (-want +got):\n%s", notation, diff)
		}
	}
}

// TestFilteringErrors checks what boxes can't have together with their filtering.
func TestFilteringErrors(t *testing.T) {
	if err := (Spec{NATs: []NATSpec{{Filtering: "none"}}}).Validate(); err == nil || !strings.Contains(err.Error(), `NAT 0: filtering "none"`) {
		t.Errorf("filtering none: %v, want an error that says so", err)
	}
	for notation, want := range map[string]string{
		"nat,filtering=endpoint-independent,ports=random":           "must preserve ports",
		"nat,filtering=address-dependent,block=9":                   "must preserve ports",
		"nat,filtering=address-dependent,dns=3s":                    "no timer of their own",
		"firewall,filtering=address-dependent,dns=3s":               "no timer of their own",
		"firewall,filtering=endpoint-independent,server-side":       "on the server's side",
		"nat,filtering=endpoint-independent,emulated":               "emulated boxes can't",
		"nat,filtering=endpoint-independent,endpoint-independent":   "emulated boxes can't",
		"nat,pool=4+nat,filtering=address-dependent":                "box 0, inside of it, has several addresses",
		"nat,pool=4+firewall+nat,filtering=endpoint-independent":    "box 0, inside of it, has several addresses",
		"nat+nat,sweep=4s,filtering=address-dependent,ports=random": "must preserve ports",
	} {
		if _, err := ParseSpec(notation); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", notation, err, want)
		}
	}
	for _, notation := range []string{
		"nat,filtering=address-dependent,pool=4,strict",
		"nat,ports=random,block=9+nat,filtering=address-dependent",
		"nat,pool=4+nat+nat,filtering=endpoint-independent",
		"nat,pool=4+firewall,filtering=endpoint-independent",
	} {
		if _, err := ParseSpec(notation); err != nil {
			t.Error(err)
		}
	}
}
