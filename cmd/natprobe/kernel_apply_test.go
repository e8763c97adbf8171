package main_test

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
)

// follow runs natprobe apply --follow on an interface of Debian's wireguard-go.
func (d *debian) follow(stateDir string, flags ...string) *side {
	d.t.Helper()
	s := &side{iface: d.iface, runDir: d.t.TempDir(), begun: time.Now()}
	args := append([]string{"apply", d.iface, "--follow", "--run-dir", s.runDir, "--state-dir", stateDir}, flags...)
	s.program = startProgram(d.t, d.start, testProgram(d.t), args...)
	return s
}

// apply runs natprobe apply on an interface of Debian's wireguard-go.
func (d *debian) apply(stateDir string, flags ...string) finished {
	d.t.Helper()
	args := append([]string{"apply", d.iface, "--state-dir", stateDir, "--run-dir", stateDir}, flags...)
	return runOn(d.t, d.start, testProgram(d.t), args...)
}

func (d *debian) keepalive() int {
	d.t.Helper()
	return wgPeerOf(d.t, d.iface).keepalive
}

// TestKernelApplyFollows is TestKernelTunnelTunes for a WireGuard that exists:
// Debian's wireguard-go has the interval that each network needs, and in the end
// its own one again.
func TestKernelApplyFollows(t *testing.T) {
	needTunnels(t, "wireguard-go", "wg", "ip")
	n := startKernelNet(t, roaming())
	allowIPv6(t, n.Lab)
	e := newEnds(t, n.ServerAddr(), "25")
	server := startTunnel(t, n.StartServer, e.serverFile)
	server.await("the server is up", func(status) bool { return true })
	client := startDebian(t, n.StartClient, e.clientFile)
	state := t.TempDir()
	apply := client.follow(state)

	home := apply.await("the interval is set at home", isSet).path()
	took := home.MeasuredAt.Sub(apply.begun)
	t.Logf("at home: %d s, %.1f s after the start", home.IntervalS, took.Seconds())
	checkRule(t, home, n.Spec().Truth())
	if home.IntervalS < 4 || home.IntervalS > 5 {
		t.Errorf("at home the interval is %d s, want 4 or 5", home.IntervalS)
	}
	if took > 30*time.Second && !raceDetector {
		t.Errorf("it took %v, want 30 s at most", took)
	}
	checkForce := func(where string, seconds int) {
		t.Helper()
		if got := client.keepalive(); got != seconds {
			t.Errorf("%s wg shows %d s, want %d", where, got, seconds)
		}
	}
	checkForce("at home", home.IntervalS)
	k := newKnocker(t, n.Lab, insideServer, insideClient)
	soak(k, 20*time.Second)

	moved := time.Now()
	if err := n.Move(1); err != nil {
		t.Fatal(err)
	}
	client.roam(e)
	there := apply.await("the interval is set elsewhere", func(s status) bool {
		return isSet(s) && s.path().MeasuredAt.After(moved)
	}).path()
	took = there.MeasuredAt.Sub(moved)
	t.Logf("elsewhere: %d s, %.1f s after the move", there.IntervalS, took.Seconds())
	checkRule(t, there, natlab.Spec{NATs: n.Spec().Elsewhere}.Truth())
	checkForce("elsewhere", there.IntervalS)
	if longest := 6 * time.Second; took > longest*115/100+10*time.Second && !raceDetector {
		t.Errorf("it took %v, want 1.15 times %v and 10 s at most", took, longest)
	}
	soak(k, 10*time.Second)

	moved = time.Now()
	if err := n.Move(0); err != nil {
		t.Fatal(err)
	}
	client.roam(e)
	back := apply.await("the interval is back at home", func(s status) bool { return s.path().IntervalS == home.IntervalS })
	last := back.Tuner.Changes[len(back.Tuner.Changes)-1]
	t.Logf("back: %d s, %.1f s after the move: %s", last.IntervalS, last.At.Sub(moved).Seconds(), last.Reason)
	if !back.path().MeasuredAt.Equal(*home.MeasuredAt) {
		t.Error("on moving back it was measured anew before it was set")
	}
	checkForce("back at home", home.IntervalS)
	soak(k, 10*time.Second)

	for _, flag := range []string{"--revert", "--interval=25s"} {
		got := runOn(t, n.StartClient, testProgram(t), "apply", client.iface, flag, "--run-dir", apply.runDir, "--state-dir", state)
		if got.status != 1 || !strings.Contains(got.stderr, "looks after it, in process") {
			t.Errorf("%s beside --follow: %+v", flag, got)
		}
	}
	checkForce("in spite of other commands", home.IntervalS)
	apply.end(syscall.SIGTERM)
	if status := apply.cmd.ProcessState.ExitCode(); status != 0 && status != 130 {
		t.Errorf("apply --follow ended with status %d", status)
	}
	checkForce("after the end", home.IntervalS)
	if got := client.apply(state, "--revert"); got.status != 0 || !strings.Contains(got.stdout, "25 s") {
		t.Errorf("--revert: %+v", got)
	}
	checkForce("after --revert", 25)
}

// TestKernelApplyOnce sets intervals once and for all.
func TestKernelApplyOnce(t *testing.T) {
	needTunnels(t, "wireguard-go", "wg", "ip")
	n := startKernelNet(t, roaming())
	allowIPv6(t, n.Lab)
	e := newEnds(t, n.ServerAddr(), "")
	server := startTunnel(t, n.StartServer, e.serverFile)
	server.await("the server is up", func(status) bool { return true })
	client := startDebian(t, n.StartClient, e.clientFile)
	state := t.TempDir()

	change := func(from, to string) string {
		return fmt.Sprintf("%s: peer %s: persistent keepalive %s becomes %s\n", client.iface, e.server.public, from, to)
	}
	for _, step := range []struct {
		flags []string
		says  string // on standard output
		force int    // seconds in force then
	}{
		{[]string{"--interval", "25s", "--dry-run"}, change("off", "25 s"), 0},
		{[]string{"--interval", "25s"}, change("off", "25 s"), 25},
		{[]string{"--interval", "25s"}, "persistent keepalive 25 s stays\n", 25},
		{[]string{"--interval", "9s", "--peer", e.server.public}, change("25 s", "9 s"), 9},
		{[]string{"--revert", "--dry-run"}, "9 s", 9},
		{[]string{"--dry-run"}, "persistent keepalive 9 s becomes ", 9},
		{[]string{"--interval", "0s"}, change("9 s", "off"), 0},
		{nil, "persistent keepalive off becomes ", -1},
		{[]string{"--revert"}, "off", 0},
		{[]string{"--revert"}, "", 0},
	} {
		got := client.apply(state, step.flags...)
		if got.status != 0 || !strings.Contains(got.stdout, step.says) {
			t.Errorf("apply %v ended with status %d and said %q and %q, want %q", step.flags, got.status, got.stdout, got.stderr, step.says)
		}
		force := client.keepalive()
		if step.force >= 0 && force != step.force {
			t.Errorf("after apply %v wg shows %d s, want %d", step.flags, force, step.force)
		}
		if step.force < 0 && (force < 4 || force > 5 || !strings.HasSuffix(got.stdout, fmt.Sprintf(" becomes %d s\n", force))) {
			t.Errorf("after apply %v wg shows %d s, want 4 or 5 as it said: %s", step.flags, force, got.stdout)
		}
	}
	nobody := newKeys(t).public
	for _, c := range []struct {
		flags  []string
		status int
		says   string // on standard error
	}{
		{[]string{"--peer", nobody, "--interval", "9s"}, 2, "has no peer " + nobody},
		{[]string{"--peer", "nonsense"}, 2, "--peer"},
		{[]string{"--interval", "1500ms"}, 2, "whole seconds"},
		{[]string{"--interval", "-1s"}, 2, "whole seconds"},
		{[]string{"--follow", "--dry-run"}, 2, "--follow"},
		{[]string{"--follow", "--interval", "9s"}, 2, "--follow"},
		{[]string{"--revert", "--peer", e.server.public}, 2, "--revert"},
	} {
		got := client.apply(state, c.flags...)
		if got.status != c.status || !strings.Contains(got.stderr, c.says) {
			t.Errorf("apply %v ended with status %d and said %q, want status %d and %q", c.flags, got.status, got.stderr, c.status, c.says)
		}
	}
	if force := client.keepalive(); force != 0 {
		t.Errorf("commands that were refused have set %d s", force)
	}
}

// TestKernelApplyRefuses is about interfaces that nothing can be done for.
func TestKernelApplyRefuses(t *testing.T) {
	needTunnels(t, "wireguard-go", "wg", "ip")
	n := startKernelNet(t, roaming())
	allowIPv6(t, n.Lab)
	e := newEnds(t, n.ServerAddr(), "")
	server := startDebian(t, n.StartServer, e.serverFile)
	client := startDebian(t, n.StartClient, e.clientFile)
	state := t.TempDir()

	absent := runOn(t, n.StartClient, testProgram(t), "apply", "nosuch0", "--state-dir", state)
	if absent.status != 1 || !strings.Contains(absent.stderr, "no such WireGuard interface: nosuch0") {
		t.Errorf("an interface that isn't there: %+v", absent)
	}
	other := runOn(t, n.StartClient, testProgram(t), "apply", "lo", "--state-dir", state)
	if other.status != 1 || !strings.Contains(other.stderr, "lo") {
		t.Errorf("an interface of another kind: %+v", other)
	}
	// The server knows no endpoint, and sends no keepalives: later it may, so that
	// this is no wrong usage.
	if got := server.apply(state); got.status != 1 || !strings.Contains(got.stderr, "nothing to set") {
		t.Errorf("a server without clients: %+v", got)
	}
	if got := server.apply(state, "--peer", e.client.public); got.status != 1 || !strings.Contains(got.stderr, "endpoint") {
		t.Errorf("a path that isn't there: %+v", got)
	}
	silent := client.apply(state)
	if silent.status != 4 || !strings.Contains(silent.stderr, "--reflector") {
		t.Errorf("a peer that is no natprobe: %+v", silent)
	}
	nowhere := netip.AddrPortFrom(n.ServerAddr(), 9).String()
	if got := client.apply(state, "--reflector", nowhere); got.status != 4 {
		t.Errorf("a reflector that isn't there: %+v", got)
	}
	if force := client.keepalive(); force != 0 {
		t.Errorf("%d s are set, though nothing could be measured", force)
	}
	wg(t, "set", client.iface, "peer", newKeys(t).public, "endpoint", nowhere)
	if got := client.apply(state); got.status != 2 || !strings.Contains(got.stderr, "2 peers") {
		t.Errorf("two peers without keepalives: %+v", got)
	}
	// A peer that natprobe itself has switched off is still the one concerned.
	wg(t, "set", client.iface, "peer", e.server.public, "persistent-keepalive", "25")
	for _, interval := range []string{"0s", "9s"} {
		got := client.apply(state, "--interval", interval)
		if got.status != 0 || strings.Count(got.stdout, "\n") != 1 || !strings.Contains(got.stdout, e.server.public) {
			t.Errorf("one of two peers, to %s: %+v", interval, got)
		}
	}
}

// TestKernelElsewhere has a server that is no natprobe, and a reflector on
// another of its ports.
func TestKernelElsewhere(t *testing.T) {
	needTunnels(t, "wireguard-go", "wg", "ip")
	for _, with := range []string{"up", "apply", "apply --follow"} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			n := startKernelNet(t, roaming())
			allowIPv6(t, n.Lab)
			at := netip.AddrPortFrom(n.ServerAddr(), 3479).String()
			reflector := startProgram(t, n.StartServer, testProgram(t), "reflector", "--listen", at)
			poll(t, "the reflector listens", func() bool { return strings.Contains(reflector.output(), at) })

			var seconds int
			switch with {
			case "up":
				e := newEnds(t, n.ServerAddr(), "auto")
				startDebian(t, n.StartServer, e.serverFile)
				client := startTunnel(t, n.StartClient, e.clientFile, "--reflector", at)
				path := client.await("the interval is set", isSet).path()
				t.Logf("%d s, %.1f s after the start", path.IntervalS, path.MeasuredAt.Sub(client.begun).Seconds())
				checkRule(t, path, n.Spec().Truth())
				seconds = wgPeerOf(t, client.iface).keepalive
			case "apply":
				e := newEnds(t, n.ServerAddr(), "25")
				startDebian(t, n.StartServer, e.serverFile)
				client := startDebian(t, n.StartClient, e.clientFile)
				if got := client.apply(t.TempDir(), "--reflector", at); got.status != 0 {
					t.Fatalf("apply: %+v", got)
				}
				seconds = client.keepalive()
			case "apply --follow":
				e := newEnds(t, n.ServerAddr(), "25")
				startDebian(t, n.StartServer, e.serverFile)
				client := startDebian(t, n.StartClient, e.clientFile)
				path := client.follow(t.TempDir(), "--reflector", at).await("the interval is set", isSet).path()
				checkRule(t, path, n.Spec().Truth())
				// Made anew, as wg-quick does, the interface has the file's interval.
				client.restart(e.clientFile)
				poll(t, "the interval is set again", func() bool { return client.keepalive() == path.IntervalS })
				seconds = client.keepalive()
			}
			if seconds < 4 || seconds > 5 {
				t.Errorf("wg shows %d s, want 4 or 5", seconds)
			}
			soak(newKnocker(t, n.Lab, insideServer, insideClient), 15*time.Second)
		})
	}
}
