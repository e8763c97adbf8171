//go:build unix

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

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// deadSocket makes what a process leaves that was killed.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// shortDir is a folder whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "np")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestControlSocket: the socket of a dead process is replaced, that of a living
// one is not, and nobody else may use it.
func TestControlSocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "wg0"+applySocket)
	deadSocket(t, path)
	c, err := openControl(path, func() runningStatus { return runningStatus{Interface: "wg0"} }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	if _, err := openControl(path, nil, nil); err == nil || !strings.HasPrefix(err.Error(), "wg0: another") {
		t.Errorf("a second one: %v", err)
	}
	if removeStale(path) {
		t.Error("a living socket passes for a dead one")
	}
	if reply, err := ask(t.Context(), path, controlStatus, controlPatience); err != nil || reply.Status.Interface != "wg0" {
		t.Errorf("status: %+v, %v", reply, err)
	}
	if _, err := ask(t.Context(), path, controlDown, controlPatience); err == nil || !strings.Contains(err.Error(), "can't be asked") {
		t.Errorf("down: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.drain()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestDeadSockets: status says what a killed process left, and what to do.
func TestDeadSockets(t *testing.T) {
	dir := shortDir(t)
	deadSocket(t, filepath.Join(dir, "wg0"+tunnelSocket))
	deadSocket(t, filepath.Join(dir, "wg1"+applySocket))
	got := natprobe(t.Context(), nil, "", "status", "--run-dir", dir)
	for _, want := range []string{"natprobe down wg0 cleans up", "natprobe apply wg1 --follow goes on"} {
		if got.status != exitDone || !strings.Contains(got.stderr, want) {
			t.Errorf("status doesn't say %q: status %d, %q", want, got.status, got.stderr)
		}
	}
	if strings.Contains(got.stderr, "down wg1") {
		t.Errorf("down doesn't help a process that follows: %q", got.stderr)
	}
}

// TestInBackground: the process in the background has the same arguments as the
// one that started it, and must not start another one.
func TestInBackground(t *testing.T) {
	t.Setenv(readyVariable, "")
	if inBackground() {
		t.Error("nobody started this process, but it takes itself for the one in the background")
	}
	t.Setenv(readyVariable, "3")
	if !inBackground() {
		t.Error("the process in the background doesn't know that it is")
	}
}

// TestConcernedPeers: an interface that has no peers yet is no bad usage, after
// which the service would not be started again.
func TestConcernedPeers(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:51820")
	for _, test := range []struct {
		name  string
		peers []vpn.PeerState
		want  int
	}{
		{"none yet", nil, exitFailed},
		{"no endpoint yet", []vpn.PeerState{{PublicKey: vpn.PublicKey{1}}}, exitFailed},
		{"two to choose from", []vpn.PeerState{{PublicKey: vpn.PublicKey{1}, Endpoint: at}, {PublicKey: vpn.PublicKey{2}, Endpoint: at}}, exitUsage},
		{"the only one", []vpn.PeerState{{PublicKey: vpn.PublicKey{1}, Endpoint: at}}, exitDone},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := concernedPeers("wg0", test.peers, nil)
			if got := exitStatus(err); got != test.want {
				t.Errorf("status %d, %v; want %d", got, err, test.want)
			}
		})
	}
}

// TestLookedAfter: two processes don't choose one interval in turns.
func TestLookedAfter(t *testing.T) {
	dir := shortDir(t)
	serve := func(name string, status runningStatus) {
		c, err := openControl(filepath.Join(dir, name), func() runningStatus { return status }, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Close()
			c.drain()
		})
	}
	serve("tuned"+tunnelSocket, runningStatus{Tuner: &tuner.Status{}})
	serve("plain"+tunnelSocket, runningStatus{})
	serve("followed"+applySocket, runningStatus{Tuner: &tuner.Status{}})
	for _, test := range []struct {
		name   string
		follow bool
		want   string // in the error; empty: none
	}{
		{"tuned", false, "brought it up"}, {"tuned", true, "brought it up"},
		{"plain", false, ""}, {"plain", true, ""},
		{"followed", false, "--follow looks after it"}, {"nobody", false, ""},
	} {
		err := lookedAfter(t.Context(), test.name, applyFlags{follow: test.follow, tuningFlags: tuningFlags{runDir: dir}})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, follow %v: %v, want %q", test.name, test.follow, err, test.want)
		}
	}
}
