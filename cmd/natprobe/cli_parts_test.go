package main

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/results"
)

func TestParseTarget(t *testing.T) {
	t.Parallel()
	good := map[string]target{
		"vpn.example.org":      {"vpn.example.org", 3478},
		"vpn.example.org:443":  {"vpn.example.org", 443},
		"192.0.2.1":            {"192.0.2.1", 3478},
		"192.0.2.1:51820":      {"192.0.2.1", 51820},
		"2001:db8::1":          {"2001:db8::1", 3478},
		"[2001:db8::1]":        {"2001:db8::1", 3478},
		"[2001:db8::1]:53":     {"2001:db8::1", 53},
		"[fe80::1%eth0]:53":    {"fe80::1%eth0", 53},
		"localhost":            {"localhost", 3478},
		"xn--bcher-kva.de:123": {"xn--bcher-kva.de", 123},
	}
	for text, want := range good {
		if got, err := parseTarget(text); err != nil || got != want {
			t.Errorf("parseTarget(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		":3478", "host:", "host:0", "host:65536", "host:x", "host:-1", "a:b:c", "[::1", "[]:53", "two hosts", "http://host", "user@host", "host/path",
	} {
		if got, err := parseTarget(text); exitStatus(err) != exitUsage || !strings.Contains(err.Error(), text) {
			t.Errorf("parseTarget(%q) = %v, %v; want an error of usage that names it", text, got, err)
		}
	}
}

// portRun is one run's use of the file of ports.
type portRun struct {
	*portFile
	t     *testing.T
	notes []string
}

func newPortRun(t *testing.T, path string) *portRun {
	r := &portRun{t: t}
	r.portFile = &portFile{path: path, note: func(s string) { r.notes = append(r.notes, s) }}
	return r
}

func (r *portRun) begin() probe.PortState {
	r.t.Helper()
	state, err := r.Load()
	if err != nil {
		r.t.Errorf("Load: %v", err)
	}
	return state
}

func (r *portRun) end(state probe.PortState) {
	r.t.Helper()
	if err := r.Save(state); err != nil {
		r.t.Errorf("Save: %v", err)
	}
}

func TestPortFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "natprobe", "ports.json")
	first := newPortRun(t, path)
	start := first.begin()
	if start.Seed == 0 || start.Next != 0 {
		t.Errorf("the first run begins with %+v, want a permutation of its own from its start", start)
	}
	start.Next = 311
	first.end(start)

	second := newPortRun(t, path)
	if got := second.begin(); got != start {
		t.Errorf("the second run begins with %+v, want %+v, where the first ended", got, start)
	}
	beside := newPortRun(t, path) // the second still runs, or was killed
	ahead := beside.begin()
	if want := (probe.PortState{Seed: start.Seed, Next: start.Next + portsAhead}); ahead != want {
		t.Errorf("a run beside it begins with %+v, want %+v", ahead, want)
	}
	second.end(probe.PortState{Seed: start.Seed, Next: start.Next + 100})
	ahead.Next += 50
	beside.end(ahead)
	if got := newPortRun(t, path).begin(); got != ahead {
		t.Errorf("the next run begins with %+v, want %+v, behind both", got, ahead)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%d files in the folder (%v), want the one", len(left), err)
	}
	if notes := append(first.notes, second.notes...); len(notes) > 0 {
		t.Errorf("notes %q, want none", notes)
	}
}

func TestPortFileBroken(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "ports.json", `{"seed": 3, "ne`)
	torn := newPortRun(t, path)
	if got := torn.begin(); got.Seed == 0 || len(torn.notes) != 1 || !strings.Contains(torn.notes[0], path) {
		t.Errorf("from a torn file: %+v with notes %q; want to begin anywhere, and a note that names the file", got, torn.notes)
	}
	for name, path := range map[string]string{"can't be remembered": filepath.Join(path, "ports.json"), "no cache folder": ""} {
		r := newPortRun(t, path)
		r.begin()
		r.notes = nil
		r.end(probe.PortState{Seed: 1})
		if len(r.notes) != 1 || !strings.Contains(r.notes[0], name) {
			t.Errorf("with path %q: notes %q, want one that says %q", path, r.notes, name)
		}
	}
}

func TestProbeCommand(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1:3478":      "natprobe measure --reflector 192.0.2.1",
		"192.0.2.1:51820":     "natprobe measure --reflector 192.0.2.1:51820",
		"[2001:db8::1]:3478":  "natprobe measure --reflector 2001:db8::1",
		"[2001:db8::1]:51820": "natprobe measure --reflector [2001:db8::1]:51820",
	} {
		addr, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := probeCommand(t.Context(), listening{}, addr); got != want {
			t.Errorf("probeCommand(%s) = %q, want %q", address, got, want)
		}
		text, _ := strings.CutPrefix(want, "natprobe measure --reflector ")
		if _, err := parseTarget(text); err != nil {
			t.Errorf("measure doesn't take %q: %v", text, err)
		}
	}
}

// TestLabLimits checks that a lab's reflector grants what the flags ask for.
func TestLabLimits(t *testing.T) {
	t.Parallel()
	const usual = reflector.DefaultMaxDelay
	tests := []struct {
		max     time.Duration
		flows   int
		delay   time.Duration
		pending int // 0: the default
	}{
		{time.Minute, 400, usual, 0},
		{usual, 0, usual, 0},
		{usual + time.Millisecond, reflector.DefaultPending, usual + time.Second, 0},
		{20 * time.Minute, reflector.DefaultPending + 1, 20 * time.Minute, reflector.Unlimited},
		{time.Hour, 400, time.Hour, 0},
	}
	for _, tt := range tests {
		got := labLimits(probe.Config{Max: tt.max, Flows: tt.flows})
		if got.MaxDelay != tt.delay || got.Pending != tt.pending {
			t.Errorf("max %v, %d flows: MaxDelay %v, Pending %d; want %v, %d", tt.max, tt.flows, got.MaxDelay, got.Pending, tt.delay, tt.pending)
		}
		if _, err := reflector.New(reflector.Config{Limits: got}); err != nil {
			t.Errorf("max %v, %d flows: %v", tt.max, tt.flows, err)
		}
	}
}

func TestOpening(t *testing.T) {
	t.Parallel()
	cfg := probe.Config{Reflector: netip.MustParseAddrPort("192.0.2.1:3478"), Local: netip.MustParseAddr("10.0.0.2")}
	for name, want := range map[string]string{
		"192.0.2.1":            "Measuring against the reflector 192.0.2.1:3478 from 10.0.0.2.",
		"192.0.2.1:3478":       "Measuring against the reflector 192.0.2.1:3478 from 10.0.0.2.",
		"vpn.example.org":      "Measuring against the reflector vpn.example.org (192.0.2.1:3478) from 10.0.0.2.",
		"vpn.example.org:3478": "Measuring against the reflector vpn.example.org:3478 (192.0.2.1:3478) from 10.0.0.2.",
	} {
		m := measurement{config: cfg, reflector: name}
		if got := m.opening(); got != want {
			t.Errorf("opening of %s:\n got %s\nwant %s", name, got, want)
		}
	}
}

// TestOutputFile checks that records go behind those that are there, and that
// a file which an earlier run was about to make is not taken from it.
func TestOutputFile(t *testing.T) {
	t.Parallel()
	records, err := results.ReadRecords(strings.NewReader(sampleRecord), "sample")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "records.jsonl")
	var files []*recordFile
	for range 2 { // both begin before there is a file
		file, err := openOutput(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there before a record is (%v)", err)
	}
	for _, file := range files {
		if err := errors.Join(file.Append(records[0]), file.Close()); err != nil {
			t.Error(err)
		}
	}
	if saved, err := results.ReadRecordFile(path); err != nil || len(saved) != 2 {
		t.Errorf("the file has %d records (%v), want 2", len(saved), err)
	}
}

// TestFullDisk prints a record that could not be saved: it took minutes to get.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	records, err := results.ReadRecords(strings.NewReader(sampleRecord), "sample")
	if err != nil {
		t.Fatal(err)
	}
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skipf("SKIPPED: NO %s HERE", full)
	}
	out, err := openOutput(full)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // it says again that nothing can be written
	var stdout strings.Builder
	m := measurement{app: &app{stdout: &output{to: &stdout}}}
	if err := m.write(out, records[0]); err == nil || !strings.Contains(err.Error(), full) || !strings.Contains(err.Error(), "printed") {
		t.Errorf("error: %v", err)
	}
	_, printed, _ := strings.Cut(stdout.String(), "\n{")
	got, err := results.ReadRecords(strings.NewReader("{"+printed), "standard output")
	if err != nil || len(got) != 1 || got[0].ID != records[0].ID {
		t.Errorf("%d records, %v; printed:\n%s", len(got), err, stdout.String())
	}
}
