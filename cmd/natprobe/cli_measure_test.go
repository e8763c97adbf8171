package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// TestMeasureLoopback measures a path on which nothing expires, with the verbs
// on both ends.
func TestMeasureLoopback(t *testing.T) {
	t.Parallel()
	address := startReflector(t)
	output := filepath.Join(t.TempDir(), "records.jsonl")
	got := natprobe(t.Context(), map[string]string{reflectorVariable: address}, "",
		"measure", "--json", "--min", "500ms", "--max", "4s", "--regimes", "exchange,oneway,stream", "--budget", "5m", "--output", output)
	if got.status != exitDone {
		t.Fatalf("status %d, want %d; stderr:\n%s", got.status, exitDone, got.stderr)
	}
	record := decodeRecord(t, got.stdout)
	if !record.Complete {
		t.Error("the record says that it isn't complete")
	}
	want := map[string]any{
		"reflector": address, "family": "ipv4", "regimes": []any{"exchange", "oneway", "stream"},
		"min": "500ms", "max": "4s", "flows": 400.0, "gentle": false, "resolution": "0s", "repeat": 0.0, "budget": "5m0s",
	}
	if diff := cmp.Diff(want, record.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	want = map[string]any{"reflector": address, "min": "500ms", "max": "4s", "regimes": "exchange,oneway,stream", "budget": "5m0s"}
	if diff := cmp.Diff(want, record.Supplied); diff != "" {
		t.Errorf("supplied (-want +got):\n%s", diff)
	}
	for _, l := range record.Lifetimes {
		if l.UpperS != nil || l.LowerS < 3 {
			t.Errorf("%s lives %.2f s at least and at most %v; want nearly 4 s and no end", l.Regime, l.LowerS, l.UpperS)
		}
	}
	if record.Tool.Name != "natprobe" || record.Network.Mapping != "none" {
		t.Errorf("tool %q, mapping %q; want natprobe, none", record.Tool.Name, record.Network.Mapping)
	}
	if r := record.Recommendation; r == nil || r.KeepaliveS == nil || *r.KeepaliveS != 1 {
		t.Errorf("recommendation %+v; want 1 s, what 4 s prove", r)
	}
	saved, err := results.ReadRecordFile(output)
	if err != nil || len(saved) != 1 {
		t.Fatalf("the output has %d records (%v), want 1", len(saved), err)
	}
	if diff := cmp.Diff(record, saved[0]); diff != "" {
		t.Errorf("saved record (-printed +saved):\n%s", diff)
	}
}

// TestMeasureInconclusive measures too little for an interval.
func TestMeasureInconclusive(t *testing.T) {
	t.Parallel()
	address := startReflector(t)
	got := natprobe(t.Context(), nil, "", "measure", "--quiet", "--reflector", address, "--regimes", "solitary", "--max", "1500ms")
	if want := "natprobe: inconclusive: not enough evidence for an interval\n"; got.status != exitInconclusive || got.stderr != want {
		t.Errorf("status %d, stderr %q; want %d and %q", got.status, got.stderr, exitInconclusive, want)
	}
	if !strings.Contains(got.stdout, "No interval is proven to hold") {
		t.Errorf("stdout %q, want why there is no interval", got.stdout)
	}
}

// TestMeasureRefused asks for longer gaps than the reflector grants.
func TestMeasureRefused(t *testing.T) {
	t.Parallel()
	address := startReflector(t)
	got := natprobe(t.Context(), nil, "", "measure", "--reflector", address, "--max", "20m")
	if got.status != exitUnreachable || !strings.Contains(got.stderr, "choose a smaller --max") || got.stdout != "" {
		t.Errorf("status %d, stdout %q, stderr %q; want %d and what to do", got.status, got.stdout, got.stderr, exitUnreachable)
	}
}

// TestMeasureUnreachable finds nobody there, and leaves nothing behind.
func TestMeasureUnreachable(t *testing.T) {
	t.Parallel()
	silent := udpSocket(t).LocalAddr().String()
	dir := t.TempDir()
	got := natprobe(t.Context(), nil, "", "measure", "--reflector", silent, "--output", filepath.Join(dir, "records.jsonl"))
	if got.status != exitUnreachable || got.stdout != "" {
		t.Errorf("status %d, stdout %q; want %d and nothing", got.status, got.stdout, exitUnreachable)
	}
	if want := "Measuring against the reflector " + silent + " from 127.0.0.1.\n"; !strings.HasPrefix(got.stderr, want) {
		t.Errorf("stderr %q, want it to begin with %q", got.stderr, want)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files left (%v), want none", len(left), err)
	}
}

// TestMeasureInterrupted ends a measurement in its middle.
func TestMeasureInterrupted(t *testing.T) {
	t.Parallel()
	address := startReflector(t)
	output := filepath.Join(t.TempDir(), "records.jsonl")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	signal := time.AfterFunc(3*time.Second, interrupt)
	defer signal.Stop()
	got := natprobe(ctx, nil, "", "measure", "--json", "--reflector", address, "--output", output)
	if got.status != exitInterrupted || !strings.Contains(got.stderr, "interrupted after") {
		t.Errorf("status %d, stderr %q; want %d and that it was interrupted", got.status, got.stderr, exitInterrupted)
	}
	record := decodeRecord(t, got.stdout)
	if record.Complete {
		t.Error("the record says that it is complete")
	}
	if r := record.Recommendation; r == nil || r.FallbackS == nil && r.KeepaliveS == nil {
		t.Errorf("recommendation %+v, want an interval or a fallback", r)
	}
	saved, err := results.ReadRecordFile(output)
	if err != nil || len(saved) != 1 || saved[0].ID != record.ID {
		t.Errorf("the output has %d records (%v), want the one that was printed", len(saved), err)
	}
}

// TestInterruptedEarly interrupts before anything was asked.
func TestInterruptedEarly(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	got := natprobe(ctx, nil, "", "measure", "--reflector", "no-such-host.invalid")
	if got.status != exitInterrupted || got.stderr != "natprobe: interrupted\n" {
		t.Errorf("status %d, stderr %q; want %d and that it was interrupted", got.status, got.stderr, exitInterrupted)
	}
}

// TestKernelMeasureCommand measures a lab with the verb.
func TestKernelMeasureCommand(t *testing.T) {
	t.Parallel()
	// Where this process may not make labs, the verb would start the test
	// binary again. Then this test runs inside TestKernelLabsAsUser.
	lab, err := natlab.Start(t.Context(), natlab.Spec{})
	if errors.Is(err, natlab.ErrUnavailable) {
		t.Skipf("SKIPPED, %s NEEDS A KERNEL LAB (TestKernelLabsAsUser has run it where it passed): %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Close(); err != nil {
		t.Fatal(err)
	}
	// The variable is for other networks than the lab.
	env := map[string]string{reflectorVariable: "no-such-host.invalid"}
	got := natprobe(t.Context(), env, "", "measure", "--lab", "fast", "--regimes", "exchange", "--max", "10s", "--json")
	if got.status != exitInconclusive {
		t.Fatalf("status %d, want %d for want of a stream lifetime; stderr:\n%s", got.status, exitInconclusive, got.stderr)
	}
	record := decodeRecord(t, got.stdout)
	if record.Config["lab"] != "fast" || !record.Reflector.Attested {
		t.Errorf("lab %v, attested %v; want fast, true", record.Config["lab"], record.Reflector.Attested)
	}
	if len(record.Lifetimes) != 1 {
		t.Fatalf("%d lifetimes, want 1", len(record.Lifetimes))
	}
	if l := record.Lifetimes[0]; l.UpperS == nil || l.LowerS > 6 || *l.UpperS < 6 {
		t.Errorf("bracket from %v to %v, want 6 s inside", l.LowerS, l.UpperS)
	}
}
