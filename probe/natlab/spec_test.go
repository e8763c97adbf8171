package natlab

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTruth(t *testing.T) {
	nat := func(solitary, stream time.Duration) NATSpec { return NATSpec{Solitary: solitary, Stream: stream} }
	s := time.Second
	for _, test := range []struct {
		name string
		nats []NATSpec
		want Timers
	}{
		{"nothing on the path", nil, Timers{}},
		{"zero value is the kernel's default", []NATSpec{{}}, Timers{30 * s, 30 * s, 30 * s, 120 * s}},
		{"one box", []NATSpec{nat(6*s, 12*s)}, Timers{6 * s, 6 * s, 6 * s, 12 * s}},
		{"outer shorter", []NATSpec{nat(6*s, 12*s), nat(4*s, 9*s)}, Timers{4 * s, 4 * s, 4 * s, 9 * s}},
		{"each the shorter once", []NATSpec{nat(3*s, 20*s), nat(8*s, 9*s), nat(7*s, 10*s)}, Timers{3 * s, 3 * s, 3 * s, 9 * s}},
		{"a firewall counts", []NATSpec{nat(6*s, 12*s), {Solitary: 2 * s, Stream: 5 * s, None: true}}, Timers{2 * s, 2 * s, 2 * s, 5 * s}},
	} {
		if diff := cmp.Diff(test.want, Spec{NATs: test.nats}.Truth()); diff != "" {
			t.Errorf("%s: Truth (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		spec Spec
		want string // part of the error
	}{
		{Spec{Family: "ipv5"}, `family "ipv5"`},
		{Spec{Loss: -0.1}, "loss -0.1"},
		{Spec{Loss: 1.1}, "loss 1.1"},
		{Spec{Loss: math.NaN()}, "loss NaN"},
		{Spec{NATs: make([]NATSpec, MaxNATs+1)}, "NAT 16: at most 16 in a row"},
		{Spec{Elsewhere: make([]NATSpec, MaxNATs+1)}, "NAT elsewhere 16: at most 16 in a row"},
		{Spec{Elsewhere: []NATSpec{{Stream: time.Millisecond}}}, "NAT elsewhere 0: stream timer 1ms"},
		{Spec{NATs: []NATSpec{{}, {Solitary: 1500 * time.Millisecond}}}, "NAT 1: solitary timer 1.5s"},
		{Spec{NATs: []NATSpec{{Stream: -time.Second}}}, "NAT 0: stream timer -1s"},
		{Spec{NATs: []NATSpec{{Stream: 25 * time.Hour}}}, "NAT 0: stream timer 25h"},
	} {
		err := test.spec.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Validate(%+v) = %v, want an error that contains %q", test.spec, err, test.want)
		}
	}
	if err := (Spec{}).Validate(); err != nil {
		t.Errorf("the zero value doesn't validate: %v", err)
	}
}

func TestCatalogue(t *testing.T) {
	want := []string{
		"fast", "linux-default", "openwrt", "random-port", "cgn", "lossy", "strict",
		"firewall6", "chain", "port-block", "pool", "dns-short", "reflector-firewall",
		"endpoint-independent", "outbound-refresh-only", "lazy-sweep", "pressure", "open",
	}
	var got []string
	for _, spec := range Catalogue() {
		got = append(got, spec.Name)
		if err := spec.Validate(); err != nil {
			t.Errorf("%s: %v", spec.Name, err)
		}
		if spec.Summary == "" {
			t.Errorf("%s has no summary", spec.Name)
		}
		found, err := Find(spec.Name)
		if err != nil {
			t.Errorf("Find(%q): %v", spec.Name, err)
		}
		if diff := cmp.Diff(spec, found); diff != "" {
			t.Errorf("Find(%q) (-want +got):\n%s", spec.Name, diff)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if _, err := Find("nowhere"); err == nil || !strings.Contains(err.Error(), "fast, linux-default") {
		t.Errorf("Find(nowhere) = %v, want an error that lists the names", err)
	}
}

// TestReadme checks the README's table against the catalogue, and its notation
// of labs against the parser.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	lifetime := func(from, to time.Duration) string {
		switch from {
		case 0:
			return "never"
		case to:
			return fmt.Sprintf("%.0f s", from.Seconds())
		default:
			return fmt.Sprintf("%.0f–%.0f s", from.Seconds(), to.Seconds())
		}
	}
	var want, got []string
	for _, spec := range Catalogue() {
		truth, latest := spec.Truth(), spec.Latest()
		boxes := map[bool]string{true: "emulated", false: "kernel"}[spec.Emulated]
		want = append(want, fmt.Sprintf("%s %s %s %s", spec.Name, boxes,
			lifetime(truth.Solitary, latest.Solitary), lifetime(truth.Stream, latest.Stream)))
	}
	notations := 0
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, " | "); len(cells) == 5 && strings.HasPrefix(line, "| `") {
			got = append(got, strings.Trim(cells[0], "| `")+" "+cells[2]+" "+cells[3]+" "+strings.Trim(cells[4], " |\n"))
		}
		if _, notation, ok := strings.Cut(line, "--lab "); ok && strings.HasPrefix(line, "    ") {
			notation, _, _ = strings.Cut(strings.TrimSpace(notation), " ")
			if _, err := Lookup(notation); err != nil {
				t.Errorf("README.md: %v", err)
			}
			notations++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-catalogue +README):\n%s", diff)
	}
	if notations == 0 {
		t.Error("the README shows no lab given as a flag")
	}
	for _, option := range []string{
		"ports", "strict", "filtering", "block", "pool", "dns", "endpoint-independent", "outbound-only", "sweep", "table",
		"loss", "family", "port", "emulated",
	} {
		_, ofLab := labOption(new(Spec), option)
		if !ofLab && boxOption(new(NATSpec), option) == nil {
			t.Errorf("there is no option %q", option)
		}
		if !strings.Contains(string(text), "`"+option) {
			t.Errorf("README.md doesn't explain the option %q", option)
		}
	}
}

// TestPlan checks that the links of the longest chains have addresses of their
// own, which belong to their prefixes, on both uplinks together.
func TestPlan(t *testing.T) {
	for _, family := range []Family{IPv4, IPv6} {
		var segments []segment
		for _, way := range []int{usual, elsewhere} {
			chain := plan(family, MaxNATs, way)
			if got, want := len(chain), MaxNATs+1; got != want {
				t.Fatalf("%s: %d links, want %d", family, got, want)
			}
			segments = append(segments, chain...)
		}
		seen := map[netip.Addr]bool{}
		for i, s := range segments {
			for _, addr := range []netip.Addr{s.inner, s.outer} {
				if !s.prefix.Contains(addr) || seen[addr] {
					t.Errorf("%s link %d: address %v is outside of %v or used twice", family, i, addr, s.prefix)
				}
				seen[addr] = true
			}
			for j := range i {
				if s.prefix.Overlaps(segments[j].prefix) {
					t.Errorf("%s: links %d and %d share addresses", family, i, j)
				}
			}
		}
		if home, away := segments[0], segments[MaxNATs+1]; home.outerMAC.String() == away.outerMAC.String() {
			t.Errorf("%s: the gateways of both uplinks have the hardware address %v", family, home.outerMAC)
		}
	}
}

func TestVisibleFrom(t *testing.T) {
	nats := []NATSpec{{None: true}, {}, {None: true}, {None: true}}
	for k, want := range [][]int{nil, {0}, nil, {2}, {3, 2}} {
		if diff := cmp.Diff(want, visibleFrom(nats, k)); diff != "" {
			t.Errorf("from link %d (-want +got):\n%s", k, diff)
		}
	}
}
