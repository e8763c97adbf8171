package natlab

import (
	"strings"
	"testing"
	"time"
)

// TestServerSide checks which boxes can be in front of the server, and what that
// makes true of its egress.
func TestServerSide(t *testing.T) {
	for notation, want := range map[string]time.Duration{
		"open":                                 0,
		"nat:6s/12s":                           0,
		"firewall:6s/12s":                      0,
		"firewall:6s/12s,server-side":          6 * time.Second,
		"nat:2s/3s+firewall:9s/7s,server-side": 7 * time.Second,
		"firewall:8s/9s,server-side+firewall:5s/60s,server-side":     5 * time.Second,
		"nat:2s/3s+firewall:8s/9s,dns=4s,server-side,port=53":        4 * time.Second,
		"nat:2s/3s+firewall:8s/9s,dns=4s,server-side":                8 * time.Second,
		"nat:9s/9s+firewall:6s/12s,server-side,emulated,family=ipv4": 6 * time.Second,
	} {
		spec, err := ParseSpec(notation)
		if err != nil || spec.Egress() != want {
			t.Errorf("%s: egress %v (%v), want %v", notation, spec.Egress(), err, want)
		}
	}
	for notation, want := range map[string]string{
		"nat:6s/12s,server-side":            "only a firewall can be there",
		"firewall,server-side+nat":          "they come last",
		"nat+firewall,server-side+firewall": "they come last",
		"firewall,server-side=yes":          "takes no value",
		"open,server-side":                  "an open lab has none",
	} {
		if _, err := ParseSpec(notation); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", notation, err, want)
		}
	}
}
