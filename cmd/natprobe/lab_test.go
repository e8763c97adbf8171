package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

func TestLabList(t *testing.T) {
	t.Parallel()
	got := natprobe(t.Context(), nil, "", "lab", "list")
	if got.status != exitDone {
		t.Fatalf("status %d, stderr %q", got.status, got.stderr)
	}
	lines := strings.Split(got.stdout, "\n")
	if want := len(natlab.Catalogue()) + 6; len(lines) != want {
		t.Errorf("%d lines, want %d", len(lines), want)
	}
	for _, want := range []string{"cgn 4 s 9 s Linux a home", "lazy-sweep 6–10 s 12–16 s any a NAT", "open never never Linux"} {
		found := false
		for _, line := range lines {
			found = found || strings.HasPrefix(strings.Join(strings.Fields(line), " "), want)
		}
		if !found {
			t.Errorf("no line begins with %q:\n%s", want, got.stdout)
		}
	}
}

func TestLabShow(t *testing.T) {
	t.Parallel()
	got := natprobe(t.Context(), nil, "", "lab", "show", "nat:6s/12s+firewall:8s/9s,sweep=2s,loss=0.5,family=ipv6")
	want := told{exitDone, `nat:6s/12s+firewall:8s/9s,sweep=2s,loss=0.5,family=ipv6,emulated: a NAT with timers of 6 s and 12 s, behind a firewall with timers of 8 s and 9 s, a look for expired mappings each 2 s; 0.5 % of the packets are lost each way.

  addresses  IPv6
  box 1      NAT with timers of 6 s and 12 s
  box 2      firewall with timers of 8 s and 9 s, a look for expired mappings each 2 s
  server     its reflector is at port 3478
  loss       0.5 % each way, between the last box and the server
  made of    models inside natprobe: any system, no privileges

True lifetimes of an idle mapping:
  solitary  6 s
  oneway    6 s
  exchange  6 s
  stream    9–11 s

As a description: nat:6s/12s+firewall:8s/9s,sweep=2s,loss=0.5,family=ipv6,emulated
`, ""}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(told{})); diff != "" {
		t.Errorf("lab show (-want +got):\n%s", diff)
	}
	for _, spec := range natlab.Catalogue() {
		got := natprobe(t.Context(), nil, "", "lab", "show", spec.Name)
		if got.status != exitDone || !strings.Contains(got.stdout, spec.Notation()+"\n") {
			t.Errorf("lab show %s: %+v, want its description, %s", spec.Name, got, spec.Notation())
		}
	}
}

func TestLabShowJSON(t *testing.T) {
	t.Parallel()
	got := natprobe(t.Context(), nil, "", "lab", "show", "--json", "dns-short")
	want := `{"name":"dns-short","summary":"a NAT that forgets flows to port 53 after 3 s, whatever they saw, and others after 6 and 12 s",` +
		`"notation":"nat:6s/12s,dns=3s,port=53","emulated":false,"family":"ipv4","port":53,"loss":0,` +
		`"boxes":[{"kind":"nat","solitary_s":6,"stream_s":12,"dns_s":3}],` +
		`"truth":{"exchange":{"from_s":3,"to_s":3},"oneway":{"from_s":3,"to_s":3},"solitary":{"from_s":3,"to_s":3},"stream":{"from_s":3,"to_s":3}}}` + "\n"
	if got.stdout != want {
		t.Errorf("got  %s\nwant %s", got.stdout, want)
	}
	var open struct {
		Boxes []any
		Truth map[results.Regime]any
	}
	got = natprobe(t.Context(), nil, "", "lab", "show", "--json", "open")
	if err := json.Unmarshal([]byte(got.stdout), &open); err != nil {
		t.Fatal(err)
	}
	if open.Boxes == nil || len(open.Boxes) != 0 || len(open.Truth) != len(results.Regimes()) || open.Truth[results.Stream] != nil {
		t.Errorf("open: boxes %v, truth %v; want none and nulls", open.Boxes, open.Truth)
	}
}

func TestLabErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, says string }{
		{"lab show", "which lab?"},
		{"lab show a b", "which lab?"},
		{"lab show nowhere", `no lab is called "nowhere"`},
		{"lab show nat:30s,lose=5", `no option "lose"`},
		{"measure --lab nat:30", `solitary timer "30"`},
		{"verify --interval 5s --lab nat:5s+", `"" is no kind of box`},
		{"lab exec lazy-sweep -- sh", "lab lazy-sweep is emulated inside natprobe"},
	} {
		got := natprobe(t.Context(), nil, "", strings.Fields(test.args)...)
		if got.status != exitUsage || !strings.Contains(got.stderr, test.says) {
			t.Errorf("%s: status %d, stderr %q; want %d and %q", test.args, got.status, got.stderr, exitUsage, test.says)
		}
	}
}

// TestEmulatedLab measures a lab that needs neither Linux nor privileges.
func TestEmulatedLab(t *testing.T) {
	t.Parallel()
	got := natprobe(t.Context(), nil, "", "measure", "--lab", "nat:3s/5s,dns=2s,port=53,emulated",
		"--regimes", "exchange", "--max", "4s", "--json")
	if got.status != exitInconclusive { // there is no stream lifetime to go by
		t.Fatalf("status %d, stderr:\n%s", got.status, got.stderr)
	}
	record := decodeRecord(t, got.stdout)
	if len(record.Lifetimes) != 1 {
		t.Fatalf("%d lifetimes, want 1", len(record.Lifetimes))
	}
	if l := record.Lifetimes[0]; l.UpperS == nil || l.LowerS > 2 || *l.UpperS < 2 {
		t.Errorf("bracket from %v to %v, want 2 s inside", l.LowerS, l.UpperS)
	}
	if mapping := record.Network.Mapping; mapping == "none" {
		t.Errorf("mapping %q behind a NAT", mapping)
	}
}

// TestLazyTruth compares brackets with a band of true lifetimes.
func TestLazyTruth(t *testing.T) {
	t.Parallel()
	at := func(s float64) map[results.Regime]float64 { return map[results.Regime]float64{results.Stream: s} }
	for _, test := range []struct {
		lower, upper float64
		right        bool
	}{{11, 13, true}, {13, 15, true}, {15, 17, true}, {11, 17, true}, {9, 11, false}, {17, 18, false}} {
		record := results.Record{Lifetimes: []results.Lifetime{{Regime: results.Stream, LowerS: test.lower, UpperS: &test.upper}}}
		text := truthText(summary{Record: record, Truth: at(12), Latest: at(16)})
		if !strings.Contains(text, "stream 12–16 s") || strings.Contains(text, "WRONG") == test.right {
			t.Errorf("%g–%g s: %s", test.lower, test.upper, text)
		}
	}
}
