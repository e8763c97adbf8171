package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/natprobe/natprobe/results"
)

// TestResume measures a lab for a while, goes on from the record with its
// settings, and asks for more than the whole.
func TestResume(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED BY -short: IT TAKES AS LONG AS REAL TIMERS")
	}
	const lab = "nat:3s/5s,emulated"
	file := filepath.Join(t.TempDir(), "records.jsonl")
	run := func(want []int, args ...string) string {
		t.Helper()
		got := natprobe(t.Context(), nil, "", append([]string{"measure", "--json", "--output", file}, args...)...)
		if !slices.Contains(want, got.status) {
			t.Fatalf("%s: status %d, want one of %v: %s", strings.Join(args, " "), got.status, want, got.stderr)
		}
		return got.stderr
	}
	// Whether an interval follows hangs on how many packets went through: on a busy
	// machine there are fewer.
	measured, usage := []int{exitDone, exitInconclusive}, []int{exitUsage}
	run([]int{exitInconclusive}, "--lab", lab, "--regimes", "exchange,stream", "--max", "8s", "--budget", "6s")
	run(measured, "--resume", file)
	if said := run(usage, "--resume", file); !strings.Contains(said, "complete") {
		t.Errorf("of a complete record: %s", said)
	}
	run(measured, "--resume", file, "--repeat", "1")
	if said := run(usage, "--resume", file, "--repeat", "1", "--lab", "nat:4s/5s,emulated"); !strings.Contains(said, "another path") {
		t.Errorf("of another lab: %s", said)
	}

	records, err := results.ReadRecordFile(file)
	if err != nil || len(records) != 3 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i, r := range records {
		if r.Config["lab"] != lab || r.Config["max"] != "8s" || len(r.Lifetimes) != 2 {
			t.Errorf("record %d has the settings %v and %d lifetimes", i, r.Config, len(r.Lifetimes))
		}
		if i == 0 {
			continue
		}
		// On a busy machine an emulated lab is late: then its timers look like
		// another network's, and the run goes on alone. And a run that was cut off
		// early may have nothing to go on from.
		refuted := slices.ContainsFunc(r.Events, func(e results.Event) bool { return e.Reason == results.ReasonEarlier })
		useful := slices.ContainsFunc(records[i-1].Trials, func(t results.Trial) bool { return t.Outcome != results.Inconclusive })
		if (r.Resumes == records[i-1].ID) != (useful && !refuted) || len(r.Trials) <= r.Lifetimes[0].Inconclusive || !r.Complete {
			t.Errorf("record %d: resumes %q after %q, complete %v", i, r.Resumes, records[i-1].ID, r.Complete)
		}
	}
	if r := records[2]; r.Effort.Rounds < 2 || r.Config["repeat"] != 1.0 {
		t.Errorf("%d rounds, repeat %v", r.Effort.Rounds, r.Config["repeat"])
	}
}
