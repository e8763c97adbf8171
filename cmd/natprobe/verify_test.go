package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/results"
)

func TestVerifyCommandLines(t *testing.T) {
	t.Parallel()
	silent := udpSocket(t).LocalAddr().String()
	tests := []struct {
		name   string
		args   string // after verify, split at spaces
		env    string // of NATPROBE_REFLECTOR
		status int
		says   []string // parts of stderr, or of stdout where the status is 0
	}{
		{"help", "--help", "", exitDone, []string{"--interval TIME", "3 undecided", "(default 0.95)"}},
		{"no interval", "--reflector 192.0.2.1", "", exitUsage, []string{"--interval is missing", "natprobe verify --help"}},
		{"no reflector", "--interval 20s", "", exitUsage, []string{
			"natprobe reflector --listen :3478", "natprobe verify --interval 20s --reflector THAT-HOST", "natprobe verify --interval 20s --lab fast",
		}},
		{"interval zero", "--interval 0s", "192.0.2.1", exitUsage, []string{"interval 0s is not between 1s and 1h"}},
		{"interval no duration", "--interval 25", "192.0.2.1", exitUsage, []string{"--interval", `"25"`}},
		{"early", "--interval 25s --late 0.5", "192.0.2.1", exitUsage, []string{"late 0.5 is not between 1 and 2"}},
		{"late zero", "--interval 25s --late 0", "192.0.2.1", exitUsage, []string{"--late 0"}},
		{"target in percent", "--interval 25s --target 95", "192.0.2.1", exitUsage, []string{"target 95 is not between 0.5 and 0.999"}},
		{"target zero", "--interval 25s --target 0", "192.0.2.1", exitUsage, []string{"--target 0"}},
		{"too many flows", "--interval 2s --flows 100", "192.0.2.1", exitUsage, []string{"flows 100 is not between 2", "and 10"}},
		{"no flows", "--interval 2s --flows 0", "192.0.2.1", exitUsage, []string{"--flows 0"}},
		{"no budget", "--interval 2s --budget 0s", "192.0.2.1", exitUsage, []string{"--budget 0s"}},
		{"regime without keepalives", "--interval 2s --regimes oneway", "192.0.2.1", exitUsage, []string{`"oneway"`, "exchange or stream"}},
		{"no regimes", "--interval 2s --regimes=", "192.0.2.1", exitUsage, []string{"--regimes names none"}},
		{"bad family", "--interval 2s --family ipx", "192.0.2.1", exitUsage, []string{`"ipx"`}},
		{"unknown lab", "--interval 2s --lab slow", "", exitUsage, []string{`"slow"`, "linux-default"}},
		{"lab and reflector", "--interval 2s --lab fast --reflector 192.0.2.1", "", exitUsage, []string{"--lab and --reflector"}},
		{"silent port", "--interval 2s --quiet --reflector " + silent, "", exitUnreachable, []string{silent, "did not answer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			if tt.env != "" {
				env[reflectorVariable] = tt.env
			}
			got := natprobe(t.Context(), env, "", append([]string{"verify"}, strings.Fields(tt.args)...)...)
			if got.status != tt.status {
				t.Errorf("status %d, want %d; stderr:\n%s", got.status, tt.status, got.stderr)
			}
			text := got.stderr
			if tt.status == exitDone {
				text = got.stdout
			}
			for _, part := range tt.says {
				if !strings.Contains(text, part) {
					t.Errorf("doesn't say %q:\n%s", part, text)
				}
			}
		})
	}
}

// TestVerifyLoopback verifies an interval where nothing expires.
func TestVerifyLoopback(t *testing.T) {
	t.Parallel()
	address := startReflector(t)
	got := natprobe(t.Context(), nil, "", "verify", "--interval", "2s", "--target", "0.5", "--reflector", address, "--json", "--budget", "5m")
	if got.status != exitDone {
		t.Fatalf("status %d, want %d; stderr:\n%s", got.status, exitDone, got.stderr)
	}
	var v results.Verification
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil {
		t.Fatalf("%v in\n%s", err, got.stdout)
	}
	if v.Schema != results.SchemaVerification || v.ID == "" || v.Tool.Name != "natprobe" {
		t.Errorf("schema %q, id %q, tool %+v", v.Schema, v.ID, v.Tool)
	}
	if v.Verdict != results.Holds || v.Missed > 0 || len(v.Regimes) != 2 || v.SilenceS != 2 {
		t.Errorf("verdict %s, %d missed, %d regimes, silence %g s; want it to hold", v.Verdict, v.Missed, len(v.Regimes), v.SilenceS)
	}
	want := map[string]any{
		"interval": "2s", "reflector": address, "family": "ipv4", "regimes": []any{"exchange", "stream"},
		"late": 1.0, "target": 0.5, "flows": 10.0, "budget": "5m0s",
	}
	if diff := cmp.Diff(want, v.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	want = map[string]any{"interval": "2s", "target": "0.5", "reflector": address, "budget": "5m0s"}
	if diff := cmp.Diff(want, v.Supplied); diff != "" {
		t.Errorf("supplied (-want +got):\n%s", diff)
	}
	if !strings.Contains(got.stderr, "10 flows") || !strings.Contains(got.stderr, "reached, 0 missed") {
		t.Errorf("progress:\n%s", got.stderr)
	}
}

// watchFor is a writer that calls found once a text was written.
type watchFor struct {
	strings.Builder
	text  string
	found func()
}

func (w *watchFor) Write(b []byte) (int, error) {
	n, err := w.Builder.Write(b)
	if strings.Contains(w.String(), w.text) {
		w.found()
	}
	return n, err
}

// TestVerifyInterrupted keeps what is known when Ctrl-C comes, and ends
// undecided when time runs out.
func TestVerifyInterrupted(t *testing.T) {
	t.Parallel()
	address := startReflector(t)
	args := []string{"verify", "--interval", "30s", "--reflector", address}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stderr := &watchFor{text: "first knock", found: cancel}
	var stdout strings.Builder
	none := func(string) (string, bool) { return "", false }
	status := run(ctx, args, none, strings.NewReader(""), &stdout, stderr)
	if status != exitInterrupted || !strings.Contains(stderr.String(), "interrupted after") || !strings.Contains(stdout.String(), "is not known") {
		t.Errorf("status %d, want %d; stdout:\n%s\nstderr:\n%s", status, exitInterrupted, stdout.String(), stderr.String())
	}

	// Long enough for a hello where the machine stands still for a while.
	got := natprobe(t.Context(), nil, "", append(args, "--budget", "8s")...)
	if got.status != exitInconclusive || !strings.Contains(got.stderr, "inconclusive: too few tries") {
		t.Errorf("status %d, want %d; stderr:\n%s", got.status, exitInconclusive, got.stderr)
	}
}

// TestWriteVerification renders each verdict.
func TestWriteVerification(t *testing.T) {
	t.Parallel()
	inbound := results.NewLoss(2, 400)
	sample := func(exchange, stream results.Samples, verdict results.Verdict) results.Verification {
		v := results.Verification{
			IntervalS: 25, SilenceS: 28.25, Target: 0.95, Verdict: verdict,
			Samples: results.NewSamples(exchange.Reached+stream.Reached, exchange.Missed+stream.Missed, exchange.Unknown+stream.Unknown),
			Regimes: []results.RegimeSamples{{Regime: results.Exchange, Samples: exchange}, {Regime: results.Stream, Samples: stream}},
			Reasons: map[results.Reason]int{results.ReasonOrderLost: 2, results.ReasonNATReboot: 1},
			Loss:    results.NewLoss(4, 400), Reflector: results.Reflector{RTTms: 20.5},
			Events: []results.Event{{AtS: 61, Reason: results.ReasonNATReboot, Detail: "the NAT lost its state", Voided: 1}},
			Effort: results.Effort{ElapsedS: 250, PacketsSent: 3000, BytesSent: 800_000, PacketsRecv: 5000},
		}
		v.Loss.Inbound = &inbound
		return v
	}
	tests := []struct {
		name string
		v    results.Verification
		want []string // parts, with runs of white space as one space
	}{
		{"holds", sample(results.NewSamples(72, 0, 1), results.NewSamples(75, 0, 2), results.Holds), []string{
			"A keepalive each 25 s holds here: just before the next one, the peer came through in 147 of 147 tries.",
			"exchange tunnel just set up 72 0 1 100.0 % 95.0 % to 100.0 %",
			"silence 28.2 s before each knock", "nat lost its state (1), order lost (2)", "at 1 m 1 s the NAT lost its state; 1 trial void",
		}},
		{"fails", sample(results.NewSamples(1, 9, 0), results.NewSamples(10, 0, 0), results.Fails), []string{
			"A keepalive each 25 s doesn't hold here: just before the next one, the peer came through in only 1 of 10 tries with a tunnel just set up.",
		}},
		{"undecided", sample(results.NewSamples(6, 0, 0), results.NewSamples(5, 1, 0), results.Undecided), []string{
			"Whether a keepalive each 25 s holds here is not decided: the peer came through in 11 of 12 tries, too few to tell.",
		}},
		{"nothing", sample(results.NewSamples(0, 0, 0), results.NewSamples(0, 0, 0), results.Undecided), []string{
			"Whether a keepalive each 25 s holds here is not known: no try was over.", "stream tunnel in use 0 0 0 – 0.0 % to 100.0 %",
		}},
	}
	for _, tt := range tests {
		var b strings.Builder
		writeVerification(&b, tt.v, style{unicode: true, width: 120})
		text := strings.Join(strings.Fields(b.String()), " ")
		for _, part := range tt.want {
			if !strings.Contains(text, part) {
				t.Errorf("%s: doesn't say %q:\n%s", tt.name, part, b.String())
			}
		}
	}
}

// TestSoakLines shows what a soak tells while it runs.
func TestSoakLines(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	lines := soakLines{w: &b}
	at := func(s float64, reached, missed int, events ...results.Event) *results.Verification {
		n := results.NewSamples(reached, missed, 0)
		return &results.Verification{
			Target: 0.95, SilenceS: 25, Verdict: results.Undecided, Samples: n, Events: events, Reflector: results.Reflector{RTTms: 1},
			Regimes: []results.RegimeSamples{{Regime: results.Stream, Samples: n}}, Effort: results.Effort{ElapsedS: s},
		}
	}
	reboot := results.Event{Detail: "the NAT lost its state", Voided: 2}
	lines.progress(&results.Verification{}) // nobody has answered yet
	lines.progress(at(0.5, 0, 0))
	lines.progress(at(5, 0, 0)) // nothing new
	lines.progress(at(12, 0, 0))
	lines.progress(at(13, 3, 1))
	lines.progress(at(14, 4, 1)) // not worth a line
	lines.progress(at(15, 4, 1, reboot))
	want := `     1 s  the first knock comes after 25 s
    12 s  0 reached, 0 missed, 0 unknown
    13 s  3 reached, 1 missed, 0 unknown; surely reachable 19.4 %, wanted 95.0 %
    15 s  the NAT lost its state (2 samples void, to be tried again)
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if lines.last != 15*time.Second {
		t.Errorf("last line at %v, want 15s", lines.last)
	}
}
