package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/results"
)

var update = flag.Bool("update", false, "write what the renderers show now to testdata/render")

// golden compares got with a file of testdata/render.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "render", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -run %s -update writes it)", err, t.Name())
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// readRecord returns a record of testdata/render.
func readRecord(t *testing.T, name string) results.Record {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("testdata", "render", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r results.Record
	if err := json.Unmarshal(doc, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// summaries are the records of testdata/render, with the keepalive that each
// must offer.
var summaries = []struct {
	record string
	truth  map[results.Regime]float64
	paste  string
}{
	{
		record: "finished", paste: "PersistentKeepalive = 3",
		truth: map[results.Regime]float64{results.Solitary: 6, results.Oneway: 6, results.Exchange: 6, results.Stream: 12},
	},
	{record: "right_censored", paste: "PersistentKeepalive = 51"},
	{record: "band", paste: "PersistentKeepalive = 14"},
	{record: "no_evidence", paste: "PersistentKeepalive = 1"},
	{record: "incomplete", paste: "PersistentKeepalive = 11"},
	{record: "off", paste: "PersistentKeepalive = 0"},
}

func TestSummary(t *testing.T) {
	for _, test := range summaries {
		t.Run(test.record, func(t *testing.T) {
			var b bytes.Buffer
			writeSummary(&b, summary{Record: readRecord(t, test.record), Truth: test.truth}, style{})
			golden(t, test.record+".summary", b.String())
			checkOutput(t, b.String(), test.paste, 80)
		})
	}
}

func TestSummaryNarrow(t *testing.T) {
	for _, test := range summaries {
		t.Run(test.record, func(t *testing.T) {
			var b bytes.Buffer
			writeSummary(&b, summary{Record: readRecord(t, test.record), Truth: test.truth}, style{width: 60})
			checkOutput(t, b.String(), test.paste, 60)
			if test.record == "finished" {
				golden(t, "finished.narrow", b.String())
			}
		})
	}
}

func TestRecommendation(t *testing.T) {
	for _, test := range summaries {
		t.Run(test.record, func(t *testing.T) {
			var b bytes.Buffer
			writeRecommendation(&b, readRecord(t, test.record), style{})
			golden(t, test.record+".recommendation", b.String())
			checkOutput(t, b.String(), test.paste, 80)
		})
	}
}

// checkOutput checks what holds of all output on stdout: one line to paste,
// alone, and nothing that a terminal of that width has to fold.
func checkOutput(t *testing.T, out, paste string, width int) {
	t.Helper()
	if n := strings.Count(out, "\n\n"+paste+"\n\n"); n != 1 {
		t.Errorf("%q stands alone on a line %d times, want once", paste, n)
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > width {
			t.Errorf("a line has %d characters, want at most %d: %q", n, width, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("a line ends with a space: %q", line)
		}
	}
}

func TestSummaryInColor(t *testing.T) {
	var plain, colored bytes.Buffer
	s := summary{Record: readRecord(t, "finished")}
	writeSummary(&plain, s, style{})
	writeSummary(&colored, s, style{color: true})
	golden(t, "finished.color", colored.String())
	if got := withoutSGR(colored.String()); got != plain.String() {
		t.Errorf("colours change more than colours (-plain +colored):\n%s", cmp.Diff(plain.String(), got))
	}
}

// withoutSGR takes the colours out.
func withoutSGR(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

func TestSummaryWithoutRecommendation(t *testing.T) {
	r := readRecord(t, "right_censored")
	r.Recommendation = nil
	r.Lifetimes = r.Lifetimes[:1]
	var b bytes.Buffer
	writeSummary(&b, summary{Record: r}, style{})
	want := "Your network's path keeps an idle mapping open for 59.4–61.7 s (one packet, no\nreply).\n"
	if got := b.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
}

// TestIncompleteComesFirst checks that an unfinished run never sounds final.
func TestIncompleteComesFirst(t *testing.T) {
	for _, test := range summaries {
		r := readRecord(t, test.record)
		r.Complete = false
		for name, write := range map[string]func(*bytes.Buffer){
			"summary":        func(b *bytes.Buffer) { writeSummary(b, summary{Record: r}, style{}) },
			"recommendation": func(b *bytes.Buffer) { writeRecommendation(b, r, style{}) },
		} {
			var b bytes.Buffer
			write(&b)
			got := strings.Join(strings.Fields(b.String()), " ")
			if !strings.HasPrefix(got, incomplete+" So far, ") || strings.Contains(got, "set WireGuard's") {
				t.Errorf("%s of %s: got %.300q, want it to say first that the run is incomplete", name, test.record, got)
			}
		}
	}
}

// TestUsualFallback checks that the cost of 25 s is told once where that is the
// fallback.
func TestUsualFallback(t *testing.T) {
	r := readRecord(t, "no_evidence")
	usual := analysis.UsualKeepaliveS
	r.Recommendation.FallbackS, r.Recommendation.CostPerDay = &usual, r.Recommendation.CostAt25
	var b bytes.Buffer
	writeRecommendation(&b, r, style{})
	if n := strings.Count(b.String(), costText(r.Recommendation.CostAt25)); n != 1 {
		t.Errorf("the cost of 25 s is told %d times, want once:\n%s", n, b.String())
	}
}

func TestBox(t *testing.T) {
	for _, test := range []struct {
		lab     any
		mapping string
		want    string
	}{
		{nil, "", "Your network's path"},
		{nil, "none", "Your network's path (no address translation)"},
		{7.0, "", "Your network's path"},
		{"fast", "", "The NAT of lab fast"},
		{"open", "none", "The network of lab open"},
		{"cgn", "", "The shortest of the 2 NATs of lab cgn"},
		{"of another\x1b[2J", "", `The network of lab "of another\x1b[2J"`},
	} {
		r := results.Record{Config: map[string]any{"lab": test.lab}, Network: results.Network{Mapping: test.mapping}}
		if got := box(r); got != test.want {
			t.Errorf("box of lab %v with mapping %q: got %q, want %q", test.lab, test.mapping, got, test.want)
		}
	}
}

func TestTruth(t *testing.T) {
	hi := 6.5
	timed := results.Lifetime{Regime: results.Stream, LowerS: 5.5, UpperS: &hi}
	open := results.Lifetime{Regime: results.Stream, LowerS: 14.9}
	tests := []struct {
		name  string
		life  results.Lifetime
		truth float64
		right bool
	}{
		{"inside", timed, 6, true},
		{"below", timed, 5.4, false},
		{"above", timed, 6.6, false},
		{"never, but expired", timed, 0, false},
		{"never", open, 0, true},
		{"beyond the longest gap", open, 20, true},
		{"lived too long", open, 10, false},
	}
	for _, test := range tests {
		got := truthText(summary{
			Record: results.Record{Lifetimes: []results.Lifetime{test.life}},
			Truth:  map[results.Regime]float64{results.Stream: test.truth},
		})
		if right := strings.Contains(got, "Each is within"); right != test.right || right == strings.Contains(got, "WRONG") {
			t.Errorf("%s: got %q, want right: %v", test.name, got, test.right)
		}
	}
}

// TestUntried: only where the lifetime that binds is not known to end may a
// larger --max allow more.
func TestUntried(t *testing.T) {
	record := readRecord(t, "right_censored")
	for _, test := range []struct {
		basis string
		want  bool
	}{{"stream: 2 × 1.13 × 51 s + 1.02 s ≤ 359 s", true}, {"exchange: 1.13 × 51 s + 1.02 s ≤ 59 s", false}} {
		record.Recommendation.Basis = test.basis
		var b strings.Builder
		writeUntried(&b, record, style{})
		if got := strings.Contains(b.String(), "larger --max"); got != test.want {
			t.Errorf("%s: advised %v, want %v", test.basis, got, test.want)
		}
	}
}

func TestLossText(t *testing.T) {
	p := probe.Progress{Outbound: results.Loss{Sent: 10}, Inbound: results.Loss{Sent: 5}, Silent: time.Second}
	if got := lossText(p); got != "no loss in 15 packets" {
		t.Errorf("%q", got)
	}
	p.Silent = 12 * time.Second
	if got := lossText(p); got != "no answer from the reflector for 12 s" {
		t.Errorf("after 12 s of silence: %q", got)
	}
}
