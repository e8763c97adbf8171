package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reflectorUnit is the service of a reflector.
const reflectorUnit = "packaging/natprobe-reflector.service"

// installReflectorUnit writes the unit to a folder of its own, with a program
// that exists, which systemd wants.
func installReflectorUnit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(reflectorUnit)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), filepath.Base(reflectorUnit))
	with := strings.Replace(string(text), "\nExecStart=natprobe ", "\nExecStart="+program+" ", 1)
	if with == string(text) {
		t.Fatalf("%s has no line to start natprobe", reflectorUnit)
	}
	if err := os.WriteFile(path, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReflectorUnit has systemd check the unit.
func TestReflectorUnit(t *testing.T) {
	for line := range strings.Lines(analyze(t, "verify", "--man=no", installReflectorUnit(t))) {
		if strings.Contains(line, "natprobe") { // it reads this machine's own units, too
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}

// TestReflectorUnitExposure keeps the service's privileges down: of systemd's 10
// for none taken away, 1.3 are left, for the network above all (systemd 252;
// later ones look at more).
func TestReflectorUnitExposure(t *testing.T) {
	analyze(t, "security", "--offline=true", "--no-pager", "--threshold=20", installReflectorUnit(t))
}
