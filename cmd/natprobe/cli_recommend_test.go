package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/natprobe/natprobe/results"
)

// sampleRecord is what a Linux router with its own timers gives: 30, 30, 30
// and 120 s, without loss.
const sampleRecord = `{"schema":"natprobe.record/1","id":"0123456789abcdef0123456789abcdef",` +
	`"started_at":"2026-01-02T03:04:05Z","ended_at":"2026-01-02T03:06:20Z",` +
	`"tool":{"name":"natprobe","version":"0","commit":"","os":"linux","arch":"amd64"},"config":{},"supplied":{},` +
	`"network":{"family":"ipv4","mapping":"","filtering":"","port_preservation":true,"hairpinning":null,"inbound_refresh":null,` +
	`"nat_levels":null,"fingerprint":"","access":"","asn":null,"country":""},` +
	`"reflector":{"id":"","address_class":"public","rtt_ms":20,"boot_id":"","attested":false},` +
	`"lifetimes":[` +
	`{"regime":"oneway","dst_port":3478,"payload":"x","hop":0,"lower_s":29.6,"upper_s":30.4,"shape":"sharp","censored":"none","trials":4,"alive":2,"expired":2,"inconclusive":0},` +
	`{"regime":"exchange","dst_port":3478,"payload":"x","hop":0,"lower_s":29.5,"upper_s":30.4,"shape":"sharp","censored":"none","trials":4,"alive":2,"expired":2,"inconclusive":0},` +
	`{"regime":"stream","dst_port":3478,"payload":"x","hop":0,"lower_s":119.5,"upper_s":121,"shape":"sharp","censored":"none","trials":4,"alive":2,"expired":2,"inconclusive":0}],` +
	`"loss":{"sent":1000,"lost":0,"rate":0,"upper95":0.003},"recommendation":null,"trials":[],` +
	`"effort":{"elapsed_s":135,"first_bracket_s":135,"packets_sent":1000,"packets_received":900,"bytes_sent":100000,"max_mappings":300,"rounds":1},` +
	`"complete":true}`

func TestRecommend(t *testing.T) {
	t.Parallel()
	without := strings.Replace(sampleRecord, `"regime":"stream"`, `"regime":"solitary"`, 1)
	torn := sampleRecord[:len(sampleRecord)/2]
	tests := []struct {
		name   string
		file   string
		args   []string
		want   int // seconds; -1 for none
		status int
		says   []string // parts of stderr; none: it must be silent
	}{
		{"a record", sampleRecord, nil, 25, exitDone, nil},
		{"wireguard-go is never late", sampleRecord, []string{"--implementation", "wireguard-go"}, 28, exitDone, nil},
		{"more slack", sampleRecord, []string{"--slack", "5s"}, 21, exitDone, nil},
		{"no slack", sampleRecord, []string{"--slack", "0s"}, 26, exitDone, nil},
		{"more losses", sampleRecord, []string{"--losses", "9"}, 10, exitDone, nil},
		{"no stream lifetime", without, nil, -1, exitInconclusive, []string{"inconclusive: No interval", "was not measured"}},
		{"the last of several", without + "\n" + sampleRecord + "\n", nil, 25, exitDone, []string{"has 2 records", "the last"}},
		{"a torn last line", sampleRecord + "\n" + torn, nil, 25, exitDone, []string{":2: the line ends in the middle"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, "records.jsonl", tt.file)
			check := func(got told) {
				t.Helper()
				var r results.Recommendation
				if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
					t.Fatalf("standard output is not one JSON document (%v):\n%s\nstderr:\n%s", err, got.stdout, got.stderr)
				}
				k := -1
				if r.KeepaliveS != nil {
					k = *r.KeepaliveS
				}
				if k != tt.want || got.status != tt.status {
					t.Errorf("%d s with status %d, want %d s with status %d; stderr: %s", k, got.status, tt.want, tt.status, got.stderr)
				}
				if len(tt.says) == 0 && got.stderr != "" {
					t.Errorf("stderr has %q, want nothing", got.stderr)
				}
				for _, part := range tt.says {
					if !strings.Contains(got.stderr, part) {
						t.Errorf("stderr %q doesn't say %q", got.stderr, part)
					}
				}
			}
			check(natprobe(t.Context(), nil, "", append([]string{"recommend", "--json", path}, tt.args...)...))
			check(natprobe(t.Context(), nil, tt.file, append([]string{"recommend", "--json", "-"}, tt.args...)...))
		})
	}
}

func TestRecommendForPeople(t *testing.T) {
	t.Parallel()
	without := natprobe(t.Context(), nil, strings.Replace(sampleRecord, `"regime":"stream"`, `"regime":"solitary"`, 1), "recommend", "-")
	if without.status != exitInconclusive || strings.Count(without.stdout+without.stderr, "was not measured") != 1 {
		t.Errorf("status %d, stderr %q, stdout:\n%s\nwant the reason once", without.status, without.stderr, without.stdout)
	}
	got := natprobe(t.Context(), nil, sampleRecord, "recommend", "-")
	if got.status != exitDone || !strings.Contains(got.stdout, "PersistentKeepalive = 25") || got.stderr != "" {
		t.Errorf("status %d, stderr %q, stdout:\n%s\nwant the line to paste", got.status, got.stderr, got.stdout)
	}
}
