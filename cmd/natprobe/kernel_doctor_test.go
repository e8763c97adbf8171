//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/natprobe/natprobe/probe/natlab"
)

// found is a finding of natprobe doctor.
type found struct{ Check, Status, Seen, Advice string }

// runDoctor has natprobe doctor look at a lab's client, after some commands of a
// shell there.
func runDoctor(t *testing.T, n *kernelNet, before string, flags ...string) (map[string]found, int) {
	t.Helper()
	args := []string{"-c", before + "\n" + `exec "$0" doctor --json "$@"`, testProgram(t), "--run-dir", t.TempDir(), "--state-dir", t.TempDir()}
	cmd := exec.Command("sh", append(args, flags...)...)
	cmd.Env = append(os.Environ(), "NATPROBE_TEST_AS_PROGRAM=1", "NATPROBE_REFLECTOR="+n.reflectorAddr().String(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := n.StartClient(cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the state tells
	var report struct{ Findings []found }
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v: %q, %q", err, stdout.String(), stderr.String())
	}
	findings := make(map[string]found)
	for _, f := range report.Findings {
		if _, there := findings[f.Check]; !there { // of several the first, of IPv4
			findings[f.Check] = f
		}
	}
	return findings, cmd.ProcessState.ExitCode()
}

func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("SKIPPED, %s NEEDS %s: %v", t.Name(), name, err)
	}
}

// timers is a shell's command that sets the client's own timers for UDP.
func timers(idle, stream int) string {
	return fmt.Sprintf("echo %d >/proc/sys/net/netfilter/nf_conntrack_udp_timeout && echo %d >/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream\n", idle, stream)
}

const statefulRules = "nft add table inet own && nft 'add chain inet own in { type filter hook input priority 0; policy drop; }'" +
	" && nft add rule inet own in ct state established,related accept && nft add rule inet own in iifname lo accept\n"

// TestKernelDoctor looks at clients of labs that something is wrong with.
func TestKernelDoctor(t *testing.T) {
	t.Parallel()
	needProgram(t, "nft")
	nat := natlab.Spec{NATs: []natlab.NATSpec{box(30, 120)}}
	for _, tt := range []struct {
		name   string
		lab    natlab.Spec
		before string
		check  string
		want   found // Seen and Advice: regular expressions
		code   int
	}{
		{"reflector", nat, "", "reflector", found{Status: "ok", Seen: `^203\.0\.113\.1:3478 answers in [0-9.]+ ms$`}, 0},
		{"path", nat, "", "path", found{Status: "ok", Seen: `by eth0 and 192\.168\.1\.1, no tunnel`}, 0},
		{"NAT", nat, "", "NAT", found{Status: "unknown", Seen: `the reflector sees 203\.0\.113\.\d+`}, 0},
		{"no NAT", natlab.Spec{NATs: []natlab.NATSpec{{None: true}}}, "", "NAT", found{Status: "ok", Seen: `^none on the way`}, 0},
		{"no firewall", nat, timers(6, 12), "firewall", found{Status: "ok", Seen: `^nothing on this machine`}, 0},
		{"firewall with short timers", nat, statefulRules + timers(6, 12), "firewall", found{
			Status: "problem", Seen: `^inet own in drops .* after 6 s, one in use after 12 s`, Advice: `nft insert rule inet own in ip saddr 203\.0\.113\.1 udp sport 3478 accept$`,
		}, 1},
		{"firewall with the usual timers", nat, statefulRules + timers(30, 120), "firewall", found{Status: "warn", Seen: `^inet own in .* after 30 s, one in use after 2 m`}, 0},
		{"firewall by its last rule", nat, strings.Replace(statefulRules, "policy drop", "policy accept", 1) + "nft add rule inet own in counter reject\n" + timers(6, 12),
			"firewall", found{Status: "problem", Seen: `^inet own in drops`}, 1},
		{"rule with a condition at the end", nat, strings.Replace(statefulRules, "policy drop", "policy accept", 1) + "nft add rule inet own in tcp dport 22 drop\n" + timers(6, 12),
			"firewall", found{Status: "ok"}, 0},
		{"other hooks", nat, strings.NewReplacer("hook input", "hook forward").Replace(statefulRules) + timers(6, 12), "firewall", found{Status: "ok"}, 0},
		{"firewall that lets the reflector in", nat, statefulRules + timers(6, 12) + "nft insert rule inet own in ip saddr 203.0.113.1 udp sport 3478 accept\n",
			"firewall", found{Status: "ok", Seen: "lets the reflector's packets in"}, 0},
		{"firewall that lets another in", nat, statefulRules + timers(6, 12) + "nft insert rule inet own in ip saddr 203.0.113.9 udp sport 3478 accept\n", "firewall", found{Status: "problem"}, 1},
		{"firewall without state", nat, "nft add table ip f && nft 'add chain ip f i { type filter hook input priority 0; policy drop; }'\n",
			"firewall", found{Status: "problem", Seen: "^ip f i drops what no rule lets in, and knows no flows"}, 1},
		{"reflector behind that", nat, "nft add table ip f && nft 'add chain ip f i { type filter hook input priority 0; policy drop; }'\n", "reflector", found{Status: "problem", Seen: "no answer"}, 1},
		{"few files", nat, "ulimit -n 256\n", "open files", found{Status: "warn", Seen: "256, too few for 400 flows"}, 0},
		{"far too few files", nat, "ulimit -n 80\n", "open files", found{Status: "problem", Seen: "80, too few even for the 64 flows"}, 1},
		{"offline", nat, "ip link set eth0 down\n", "path", found{Status: "problem", Seen: "no way to the reflector"}, 1},
		{"IPv6", natlab.Spec{NATs: []natlab.NATSpec{{None: true}}, Family: natlab.IPv6}, "", "reflector", found{Status: "ok", Seen: `^\[2001:db8:1::1\]:3478 answers`}, 0},
	} {
		// One after the other: the tests beside it have timers that a burst of
		// labs and programs would disturb.
		t.Run(tt.name, func(t *testing.T) {
			findings, code := runDoctor(t, startKernelNet(t, tt.lab), tt.before)
			got := findings[tt.check]
			if got.Status != tt.want.Status || !regexp.MustCompile(tt.want.Seen).MatchString(got.Seen) || !regexp.MustCompile(tt.want.Advice).MatchString(got.Advice) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if code != tt.code {
				t.Errorf("status %d, want %d; findings %+v", code, tt.code, findings)
			}
		})
	}
}

// TestKernelDoctorAdvice does what doctor advises, and is rid of the problem: the
// reflector's packets come in whatever the client's own timers are.
func TestKernelDoctorAdvice(t *testing.T) {
	t.Parallel()
	needProgram(t, "nft")
	n := startKernelNet(t, natlab.Spec{NATs: []natlab.NATSpec{box(30, 120)}})
	findings, code := runDoctor(t, n, statefulRules+timers(1, 1))
	if code != 1 || findings["firewall"].Status != "problem" {
		t.Fatalf("status %d, %+v; want a problem with the firewall", code, findings)
	}
	_, command, ok := strings.Cut(findings["firewall"].Advice, ": ")
	if !ok {
		t.Fatalf("no command in %q", findings["firewall"].Advice)
	}
	findings, code = runDoctor(t, n, command+"\n")
	if code != 0 || findings["firewall"].Status != "ok" {
		t.Errorf("after %q: status %d, %+v", command, code, findings["firewall"])
	}
}

// TestKernelDoctorTunnel: the way to the reflector leads through a tunnel, of
// natprobe itself or of somebody else.
func TestKernelDoctorTunnel(t *testing.T) {
	needTunnels(t, "nft")
	n := startKernelNet(t, natlab.Spec{NATs: []natlab.NATSpec{box(30, 120)}})
	_, config := tunnelFiles(t, n.ServerAddr(), "")
	config = strings.Replace(config, "AllowedIPs = "+netip.PrefixFrom(insideServer, 32).String(), "AllowedIPs = 0.0.0.0/0", 1)
	tunnel := startTunnel(t, n.StartClient, config)
	tunnel.await("the tunnel is up", func(status) bool { return true })

	findings, code := runDoctor(t, n, "")
	if got := findings["path"]; code != 1 || got.Status != "problem" || !strings.Contains(got.Seen, tunnel.iface+", a tunnel (tuntap)") {
		t.Errorf("somebody's tunnel: status %d, %+v", code, got)
	}
	findings, code = runDoctor(t, n, "", "--run-dir", tunnel.runDir)
	if got := findings["path"]; code != 1 || got.Status != "problem" || !strings.Contains(got.Advice, "natprobe down "+tunnel.iface) {
		t.Errorf("natprobe's own tunnel: status %d, %+v", code, got)
	}
}

// TestKernelDoctorFiles: a folder that can't be written to is told.
func TestKernelDoctorFiles(t *testing.T) {
	t.Parallel()
	n := startKernelNet(t, natlab.Spec{NATs: []natlab.NATSpec{box(30, 120)}})
	taken := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	findings, code := runDoctor(t, n, "", "--state-dir", filepath.Join(taken, "natprobe"))
	if got := findings["files"]; code != 0 || got.Status != "warn" || !strings.Contains(got.Seen, taken) {
		t.Errorf("status %d, %+v; want a warning about %s", code, got, taken)
	}
}
