package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reflectorUnit is the service of a reflector.
const reflectorUnit = "packaging/natprobe-reflector.service"

func readReflectorUnit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(reflectorUnit)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// installReflectorUnit writes the unit to a folder of its own, with a program
// that exists, which systemd wants, and beside it what is to be added to it.
func installReflectorUnit(t *testing.T, dropIn string) string {
	t.Helper()
	text := readReflectorUnit(t)
	path := filepath.Join(t.TempDir(), filepath.Base(reflectorUnit))
	with := strings.Replace(text, "\nExecStart=natprobe ", "\nExecStart="+testProgram(t)+" ", 1)
	if with == text {
		t.Fatalf("%s has no line to start natprobe", reflectorUnit)
	}
	if err := os.WriteFile(path, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".d", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".d/natprobe.conf", []byte(dropIn), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// reflectorRecipes returns what the unit's comments say to add to it.
func reflectorRecipes(t *testing.T) []string {
	t.Helper()
	var recipes []string
	for line := range strings.Lines(readReflectorUnit(t)) {
		line, isCode := strings.CutPrefix(line, "#     ")
		switch last := len(recipes) - 1; {
		case line == "[Service]\n" && isCode:
			recipes = append(recipes, line)
		case isCode && last >= 0:
			recipes[last] += line
		}
	}
	if len(recipes) != 2 {
		t.Fatalf("%s has %d recipes, want 2; it or this test has changed its form", reflectorUnit, len(recipes))
	}
	return recipes
}

// TestReflectorUnit has systemd check the unit, as it is and with what its
// comments add.
func TestReflectorUnit(t *testing.T) {
	for _, dropIn := range append(reflectorRecipes(t), "") {
		for line := range strings.Lines(analyze(t, "verify", "--man=no", installReflectorUnit(t, dropIn))) {
			if strings.Contains(line, "natprobe") { // it reads this machine's own units, too
				t.Errorf("systemd-analyze verify, with %q: %s", dropIn, line)
			}
		}
	}
}

// TestReflectorUnitText checks what systemd doesn't know: what the program relies
// on, and what keeps it running.
func TestReflectorUnitText(t *testing.T) {
	text := readReflectorUnit(t)
	unit, service, _ := strings.Cut(text, "\n[Service]\n")
	for _, line := range []string{
		"Restart=always",
		"ExecStart=natprobe reflector --admin 127.0.0.1:9478 $SECRET $FLAGS",
		// The threads that send bursts raise themselves to this.
		"LimitNICE=-15",
		"SystemCallFilter=~@privileged @resources\nSystemCallFilter=setpriority sched_setattr",
	} {
		if !strings.Contains(service, "\n"+line+"\n") {
			t.Errorf("%s has no line %q for the service", reflectorUnit, line)
		}
	}
	if !strings.Contains(unit, "\nStartLimitIntervalSec=0\n") {
		t.Errorf("%s lets systemd give up", reflectorUnit)
	}
	if secret := reflectorRecipes(t)[0]; !strings.Contains(secret, "LoadCredential=secret:") || !strings.Contains(secret, `"SECRET=--secret-file %d/secret"`) {
		t.Errorf("%s doesn't say how to hand over a secret, but:\n%s", reflectorUnit, secret)
	}
	for _, not := range []string{
		"${",         // which systemd doesn't look for in a variable's value
		"ProcSubset", // without /proc/stat there is no process_start_time_seconds
	} {
		if strings.Contains(text, not) {
			t.Errorf("%s has %s", reflectorUnit, not)
		}
	}
}

// TestReflectorUnitExposure keeps the service's privileges down: of systemd's 10
// for none taken away, 1.4 are left, for the network above all, and so that its
// threads can raise themselves as far as LimitNICE= lets them (systemd 252; later
// ones look at more).
func TestReflectorUnitExposure(t *testing.T) {
	analyze(t, "security", "--offline=true", "--no-pager", "--threshold=20", installReflectorUnit(t, ""))
}
