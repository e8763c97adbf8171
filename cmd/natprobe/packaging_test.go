package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// applyUnit is the service that keeps an interface's keepalive right.
const applyUnit = "packaging/natprobe-apply@.service"

// TestApplyUnit has systemd check the unit, for an interface with a dash in its
// name too.
func TestApplyUnit(t *testing.T) {
	for _, tt := range []struct{ instance, name string }{{"wg0", "wg0"}, {`wg\x2dhome`, "wg-home"}} {
		t.Run(tt.name, func(t *testing.T) {
			path := installUnit(t, tt.instance)
			for line := range strings.Lines(analyze(t, "verify", "--man=no", path)) {
				// It reads this machine's own units, too.
				if strings.Contains(line, "natprobe") {
					t.Errorf("systemd-analyze verify: %s", line)
				}
			}
		})
	}
}

// TestApplyUnitExposure keeps the service's privileges down: of systemd's 10 for
// none taken away, 2.0 are left for root's name, the network and CAP_NET_ADMIN
// (systemd 252; later ones look at more).
func TestApplyUnitExposure(t *testing.T) {
	path := installUnit(t, "wg0")
	analyze(t, "security", "--offline=true", "--no-pager", "--threshold=30", path)
}

// TestApplyUnitText checks what systemd doesn't know: which settings the program
// relies on.
func TestApplyUnitText(t *testing.T) {
	text := readUnit(t)
	for _, line := range []string{
		"ExecStart=natprobe apply %I --follow",
		"BindsTo=sys-subsystem-net-devices-%i.device",
		"WantedBy=sys-subsystem-net-devices-%i.device",
		"CapabilityBoundingSet=CAP_NET_ADMIN",
		"RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX",
		"StateDirectory=natprobe",
		// Of several interfaces the first that ends must not take it away.
		"RuntimeDirectoryPreserve=yes",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("%s has no line %q", applyUnit, line)
		}
	}
}

func readUnit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(applyUnit)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// installUnit writes the unit for an instance to a folder of its own, with a
// program that exists, which systemd wants.
func installUnit(t *testing.T, instance string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "natprobe-apply@"+instance+".service")
	text := strings.Replace(readUnit(t), "ExecStart=natprobe ", "ExecStart="+program+" ", 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// analyze runs systemd-analyze, or skips the test where there is none.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skipf("SKIPPED, %s NEEDS systemd-analyze: %v", t.Name(), err)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if strings.Contains(string(out), "unrecognized option") {
		t.Skipf("SKIPPED, %s NEEDS A LATER systemd-analyze: %s", t.Name(), out)
	}
	if err != nil {
		t.Fatalf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
