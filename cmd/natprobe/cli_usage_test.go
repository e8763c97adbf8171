package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/reflector/wire"
)

// TestCommandLines runs command lines that must fail, and a few that need
// nothing, and checks the status and what a person is told.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	taken := udpSocket(t).LocalAddr().String()
	silent := udpSocket(t).LocalAddr().String()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	takenTCP := tcp.Addr().String()
	gone := udpSocket(t)
	closed := gone.LocalAddr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	huge := writeFile(t, "huge", strings.Repeat("x", maxSecret+1))
	short := writeFile(t, "short", strings.Repeat("x", wire.MinSecret-1)+"\n")
	text := writeFile(t, "notes.txt", "not a record\n")
	empty := writeFile(t, "empty.json", "")
	wrongField := writeFile(t, "wrong.jsonl", "\n"+strings.Replace(sampleRecord, `"lower_s":29.5`, `"lower_s":"long"`, 1)+"\n")
	unknownRegime := writeFile(t, "regime.jsonl", strings.Replace(sampleRecord, `"regime":"stream"`, `"regime":"river"`, 1)+"\n")

	tests := []struct {
		name   string
		args   string // split at spaces
		env    string // of NATPROBE_REFLECTOR
		status int
		says   []string // parts of stderr, or of stdout where the status is 0
	}{
		{"nothing", "", "", exitDone, []string{"measure", "reflector", "natprobe measure --lab fast"}},
		{"help of a verb", "measure --help", "", exitDone, []string{"--reflector HOST[:PORT]", "130 interrupted", "(default 6m0s)"}},
		{"help of reflector", "reflector --help", "", exitDone, []string{"--listen IP:PORT", "Status: 0 ended by a signal"}},
		{"help in words", "help recommend", "", exitDone, []string{"--implementation"}},
		{"version", "version", "", exitDone, []string{"natprobe "}},
		{"version as JSON", "version --json", "", exitDone, []string{`{"name":"natprobe",`}},
		{"labs", "lab list", "", exitDone, []string{"linux-default          30 s    120 s    Linux", "open                   never   never"}},
		{"lab alone", "lab", "", exitDone, []string{"natprobe lab list"}},

		{"unknown verb", "mesure", "", exitUsage, []string{`unknown command "mesure"`, "measure"}},
		{"unknown verb of lab", "lab build", "", exitUsage, []string{`unknown command "build"`, "lab list"}},
		{"unknown flag", "measure --fast", "", exitUsage, []string{"--fast", "natprobe measure --help"}},
		{"argument too many", "measure somewhere", "", exitUsage, []string{`"somewhere"`}},

		{"no reflector", "measure", "", exitUsage, []string{
			"natprobe reflector --listen :3478", "natprobe measure --reflector THAT-HOST", "natprobe measure --lab fast", "NATPROBE_REFLECTOR",
		}},
		{"min above max", "measure --min 2m --max 1m", "192.0.2.1", exitUsage, []string{"min 2m0s is above max 1m0s"}},
		{"min zero", "measure --min 0s", "192.0.2.1", exitUsage, []string{"--min 0s"}},
		{"min no duration", "measure --min 5", "192.0.2.1", exitUsage, []string{"--min", `"5"`}},
		{"max beyond range", "measure --max 2h", "192.0.2.1", exitUsage, []string{"max 2h0m0s is not between"}},
		{"few flows", "measure --flows 3", "192.0.2.1", exitUsage, []string{"flows 3 is below 32"}},
		{"negative budget", "measure --budget -1s", "192.0.2.1", exitUsage, []string{"budget -1s is negative"}},
		{"bad regime", "measure --regimes exchange,river", "192.0.2.1", exitUsage, []string{`"river"`, "solitary, oneway, exchange, stream"}},
		{"regime twice", "measure --regimes stream,stream", "192.0.2.1", exitUsage, []string{`"stream" is named twice`}},
		{"bad family", "measure --family ipx", "192.0.2.1", exitUsage, []string{`"ipx"`, "ipv4, ipv6 or auto"}},
		{"family of an address", "measure --family ipv6 --reflector 127.0.0.1", "", exitUsage, []string{"127.0.0.1 is an IPv4 address"}},
		{"bad port", "measure --reflector localhost:99999", "", exitUsage, []string{`"localhost:99999"`, "1 to 65535"}},
		{"URL", "measure --reflector https://vpn.example.org/", "", exitUsage, []string{"HOST:PORT"}},
		{"bad variable", "measure", "vpn.example.org:stun", exitUsage, []string{`"vpn.example.org:stun"`, `"stun" is not a port`}},
		{"unknown lab", "measure --lab slow", "", exitUsage, []string{`"slow"`, "linux-default"}},
		{"lab and reflector", "measure --lab fast --reflector 192.0.2.1", "", exitUsage, []string{"--lab and --reflector"}},
		{"folder of the output missing", "measure --reflector 127.0.0.1 --output " + empty + "/x.jsonl", "", exitUsage, []string{"--output", empty, "x.jsonl"}},
		{"output is a folder", "measure --reflector 127.0.0.1 --output " + filepath.Dir(empty), "", exitUsage, []string{"--output", filepath.Dir(empty), "directory"}},
		{"unresolvable name", "measure --reflector no-such-host.invalid", "", exitUnreachable, []string{`"no-such-host.invalid" can't be resolved`}},
		{"unresolvable variable", "measure", "no-such-host.invalid:53", exitUnreachable, []string{`"no-such-host.invalid"`}},
		{"closed port", "measure --reflector " + closed, "", exitUnreachable, []string{closed, "natprobe reflector"}},
		{"silent port", "measure --quiet --reflector " + silent, "", exitUnreachable, []string{silent, "did not answer"}},

		{"no record named", "recommend", "", exitUsage, []string{"natprobe recommend record.json"}},
		{"record missing", "recommend /nonexistent/r.json", "", exitUsage, []string{"/nonexistent/r.json"}},
		{"no record", "recommend " + text, "", exitUsage, []string{text + ":1: not JSON"}},
		{"empty file", "recommend " + empty, "", exitUsage, []string{empty, "no record"}},
		{"field of a wrong type", "recommend " + wrongField, "", exitUsage, []string{wrongField + ":2: lifetimes[1].lower_s is a JSON string"}},
		{"field of a wrong value", "recommend " + unknownRegime, "", exitUsage, []string{unknownRegime + `:1: lifetimes[2].regime is "river"`}},
		{"unknown implementation", "recommend " + text + " --implementation boringtun", "", exitUsage, []string{`"boringtun"`, "wireguard-go"}},
		{"losses beyond range", "recommend " + text + " --losses 101", "", exitUsage, []string{"--losses is 101, not between"}},
		{"negative slack", "recommend " + text + " --slack -1s", "", exitUsage, []string{"--slack is -1s, below 0"}},

		{"port in use", "reflector --listen " + taken, "", exitFailed, []string{taken, "another program uses that port"}},
		{"no address", "reflector --listen localhost", "", exitUsage, []string{`"localhost"`, "IP:PORT"}},
		{"address of others", "reflector --listen 192.0.2.1:0", "", exitFailed, []string{"192.0.2.1:0", "doesn't have that address"}},
		{"short secret", "reflector --secret-file " + short, "", exitUsage, []string{short, fmt.Sprintf("has %d bytes, at least %d", wire.MinSecret-1, wire.MinSecret)}},
		{"no secret", "reflector --secret-file /nonexistent/secret", "", exitUsage, []string{"/nonexistent/secret"}},
		{"secret without a name", "reflector --secret-file=", "", exitUsage, []string{"--secret-file '' names no file"}},
		{"secret that is no file", "reflector --secret-file " + os.DevNull, "", exitUsage, []string{os.DevNull + " is not a regular file"}},
		{"secret that is a folder", "reflector --secret-file " + filepath.Dir(short), "", exitUsage, []string{filepath.Dir(short) + " is not a regular file"}},
		{"huge secret", "reflector --secret-file " + huge, "", exitUsage, []string{huge, fmt.Sprintf("at most %d bytes", maxSecret)}},
		{"negative limit", "reflector --limit-pps -1", "", exitUsage, []string{"--limit-pps -1"}},
		{"alternate that is no address", "reflector --alternate somewhere", "", exitUsage, []string{`--alternate "somewhere"`, "IP:PORT"}},
		{"alternate without primary", "reflector --alternate 192.0.2.2:3479", "", exitUsage, []string{"--alternate 192.0.2.2:3479", "--listen 192.0.2.1:3478"}},
		{"alternate of another family", "reflector --listen [::1]:3478 --alternate 127.0.0.1:3479", "", exitUsage, []string{"same family"}},
		{"one address for both roles", "reflector --listen 127.0.0.1:3478 --alternate 127.0.0.1:3479", "", exitUsage, []string{"must differ", "127.0.0.1"}},
		{"one port for both roles", "reflector --listen 127.0.0.1:3478 --alternate 127.0.0.2:3478", "", exitUsage, []string{"port must differ", "3478"}},
		{"two alternates", "reflector --listen 127.0.0.1:3478 --alternate 127.0.0.2:3479 --alternate 127.0.0.3:3479", "", exitUsage, []string{"one already"}},
		{"pair and the same again", "reflector --listen 127.0.0.1:3478 --alternate 127.0.0.2:3479 --listen 127.0.0.1:3479", "", exitUsage, []string{"--listen 127.0.0.1:3479 would take", "--alternate 127.0.0.2:3479"}},
		{"pair below a wildcard", "reflector --listen 127.0.0.1:3478 --alternate 127.0.0.2:3479 --listen :3479", "", exitUsage, []string{"--listen :3479 would take 127.0.0.1:3479 again", "--alternate 127.0.0.2:3479"}},
		{"the same twice", "reflector --listen 127.0.0.1:3478 --listen 127.0.0.1:3478", "", exitUsage, []string{"--listen 127.0.0.1:3478 is there twice; leave one out"}},
		{"wildcard and address", "reflector --listen 0.0.0.0:3478 --listen 127.0.0.1:3478", "", exitUsage, []string{"--listen 0.0.0.0:3478 and --listen 127.0.0.1:3478 take the same"}},
		{"wildcard in two forms", "reflector --listen :3478 --listen [::]:3478", "", exitUsage, []string{"--listen :3478 and --listen [::]:3478 take the same"}},
		{"wildcards of both and of one", "reflector --listen 0.0.0.0:3478 --listen :3478", "", exitUsage, []string{"--listen 0.0.0.0:3478 and --listen :3478 take the same"}},
		{"multicast", "reflector --listen 224.0.0.1:3478", "", exitUsage, []string{"--listen 224.0.0.1:3478", "multicast or broadcast"}},
		{"multicast with a zone", "reflector --listen [ff02::1%lo]:3478", "", exitUsage, []string{"--listen [ff02::1%lo]:3478", "multicast or broadcast"}},
		{"broadcast", "reflector --listen 255.255.255.255:3478", "", exitUsage, []string{"--listen 255.255.255.255:3478", "multicast or broadcast"}},
		{"alternate for many", "reflector --listen 127.0.0.1:3478 --alternate 224.0.0.1:3479", "", exitUsage, []string{"--alternate 224.0.0.1:3479", "multicast or broadcast"}},
		{"zone of another address", "reflector --listen [::1%lo]:3478", "", exitUsage, []string{"--listen [::1%lo]:3478", "leave out %lo"}},
		{"alternate with a zone", "reflector --listen [::1]:3478 --alternate [::2%lo]:3479", "", exitUsage, []string{"--alternate [::2%lo]:3479", "leave out %lo"}},
		{"link-local without a zone", "reflector --listen [fe80::1]:3478", "", exitUsage, []string{"--listen [fe80::1]:3478", "needs the zone of an interface that exists, as [fe80::1%eth0]:3478"}},
		{"link-local with an unknown zone", "reflector --listen [fe80::1%nowhere]:3478", "", exitUsage, []string{"--listen [fe80::1%nowhere]:3478", "needs the zone of an interface that exists"}},
		{"link-local as alternate", "reflector --listen [::1]:3478 --alternate [fe80::1]:3479", "", exitUsage, []string{"--alternate [fe80::1]:3479", "link-local addresses can't be a pair"}},
		{"alternate of others", "reflector --listen 127.0.0.1:13478 --alternate 192.0.2.1:13479", "", exitFailed, []string{"--listen 127.0.0.1:13478 --alternate 192.0.2.1:13479: 192.0.2.1:13478: this machine doesn't have that address"}},
		{"advertised name", "reflector --advertise stun.example.org", "", exitUsage, []string{`--advertise "stun.example.org" is no address`}},
		{"advertised once for two", "reflector --listen 127.0.0.1:3478 --alternate 127.0.0.2:3479 --advertise 192.0.2.1", "", exitUsage, []string{"--advertise gives 1 IPv4 address to a pair", "takes two"}},
		{"advertised twice", "reflector --listen 127.0.0.1:3478 --alternate 127.0.0.2:3479 --advertise 192.0.2.1 --advertise 192.0.2.1", "", exitUsage, []string{"--advertise 192.0.2.1 is there twice"}},
		{"advertised multicast", "reflector --advertise 224.0.0.1", "", exitUsage, []string{"--advertise 224.0.0.1 is no address that clients elsewhere can reach"}},
		{"advertised broadcast", "reflector --advertise 255.255.255.255", "", exitUsage, []string{"--advertise 255.255.255.255 is no address that clients elsewhere can reach"}},
		{"advertised zone", "reflector --advertise fe80::1%lo", "", exitUsage, []string{"--advertise fe80::1%lo is no address that clients elsewhere can reach"}},
		{"advertised family that nothing listens on", "reflector --listen 127.0.0.1:3478 --advertise 2001:db8::1", "", exitUsage, []string{"--advertise 2001:db8::1: nothing listens on IPv6"}},
		{"advertised twice for one", "reflector --advertise 192.0.2.1 --advertise 192.0.2.2", "", exitUsage, []string{"--advertise 192.0.2.2", "one public address"}},
		{"no orders", "reflector --limit-orders 0", "", exitUsage, []string{"--limit-orders 0 is not between 1 and"}},
		{"admin port in use", "reflector --listen 127.0.0.1:0 --admin " + takenTCP, "", exitFailed, []string{"--admin " + takenTCP, "another program uses that port"}},
		{"admin that is no address", "reflector --listen 127.0.0.1:0 --admin localhost:9478", "", exitUsage, []string{`--admin "localhost:9478"`, "IP:PORT"}},
		{"admin for many", "reflector --listen 127.0.0.1:0 --admin 224.0.0.1:9478", "", exitUsage, []string{"--admin 224.0.0.1:9478", "multicast or broadcast"}},
		{"admin address of others", "reflector --listen 127.0.0.1:0 --admin 192.0.2.1:0", "", exitFailed, []string{"--admin 192.0.2.1:0: this machine doesn't have that address"}},
		{"sockets", "reflector --sockets 257", "", exitUsage, []string{"--sockets 257 is not between 0 and 256"}},
		{"log format", "reflector --log-format xml", "", exitUsage, []string{`"xml" is not text or json`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			if tt.env != "" {
				env[reflectorVariable] = tt.env
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that is right by mistake may run for ever
			defer cancel()
			got := natprobe(ctx, env, "", strings.Fields(tt.args)...)
			if got.status != tt.status {
				t.Errorf("status %d, want %d", got.status, tt.status)
			}
			text, silent := got.stderr, got.stdout
			if tt.status == exitDone {
				text, silent = silent, text
			}
			for _, part := range tt.says {
				if !strings.Contains(text, part) {
					t.Errorf("it doesn't say %q", part)
				}
			}
			wrong, _ := strings.CutSuffix(got.stderr, "\"natprobe reflector --help\" tells more.\n")
			if strings.HasPrefix(tt.args, "reflector ") && tt.status != exitDone && strings.Count(wrong, "\n") != 1 {
				t.Error("it says more than what is wrong")
			}
			if silent != "" {
				t.Errorf("the other stream has %q, want nothing", silent)
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", got.stdout, got.stderr)
			}
		})
	}
}

// TestExitStatus shows which status each kind of error has.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  error
		want int
	}{
		{nil, exitDone},
		{errors.New("disk full"), exitFailed},
		{usagef("bad flag"), exitUsage},
		{fmt.Errorf("measure: %w", probe.ErrConfig), exitUsage},
		{inputError{errors.New("bad file")}, exitUsage},
		{noReflector, exitUsage},
		{fmt.Errorf("%w: no loss known", errInconclusive), exitInconclusive},
		{fmt.Errorf("%w: x", errUnresolved), exitUnreachable},
		{fmt.Errorf("%w: x", probe.ErrUnreachable), exitUnreachable},
		{fmt.Errorf("%w: x", probe.ErrRefused), exitUnreachable},
		{fmt.Errorf("%w after 3 s", errInterrupted), exitInterrupted},
		{statusError(77), 77},
	}
	for _, tt := range tests {
		if got := exitStatus(tt.err); got != tt.want {
			t.Errorf("exitStatus(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// failing is a stream whose other end is gone.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestUnwritableOutput(t *testing.T) {
	t.Parallel()
	record := writeFile(t, "record.json", sampleRecord)
	for _, args := range []string{"version", "lab list", "recommend " + record, "recommend --json " + record} {
		var stderr strings.Builder
		status := run(t.Context(), strings.Fields(args), func(string) (string, bool) { return "", false }, strings.NewReader(""), failing{}, &stderr)
		if status != exitFailed || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%s: status %d, stderr %q; want %d and why", args, status, stderr.String(), exitFailed)
		}
	}
}
