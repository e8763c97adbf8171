package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

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
	lab    string
	truth  map[results.Regime]float64
	paste  string
}{
	{
		record: "finished", lab: "fast", paste: "PersistentKeepalive = 3",
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
			writeSummary(&b, summary{Record: readRecord(t, test.record), LabName: test.lab, Truth: test.truth}, false)
			golden(t, test.record+".summary", b.String())
			checkOutput(t, b.String(), test.paste)
		})
	}
}

func TestRecommendation(t *testing.T) {
	for _, test := range summaries {
		t.Run(test.record, func(t *testing.T) {
			var b bytes.Buffer
			writeRecommendation(&b, *readRecord(t, test.record).Recommendation, false)
			golden(t, test.record+".recommendation", b.String())
			checkOutput(t, b.String(), test.paste)
		})
	}
}

// checkOutput checks what holds of all output on stdout: one line to paste,
// alone, and nothing that an ordinary terminal has to fold.
func checkOutput(t *testing.T, out, paste string) {
	t.Helper()
	if n := strings.Count(out, "\n\n"+paste+"\n\n"); n != 1 {
		t.Errorf("%q stands alone on a line %d times, want once", paste, n)
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("a line has %d characters, want at most 80: %q", n, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("a line ends with a space: %q", line)
		}
	}
}

func TestSummaryInColor(t *testing.T) {
	var plain, colored bytes.Buffer
	s := summary{Record: readRecord(t, "finished")}
	writeSummary(&plain, s, false)
	writeSummary(&colored, s, true)
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
	writeSummary(&b, summary{Record: r}, false)
	want := "Your network's path keeps an idle mapping open for 59.4–61.7 s (one packet, no\nreply).\n"
	if got := b.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
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
