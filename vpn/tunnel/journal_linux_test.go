package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// dead is a process that has ended.
func dead(t *testing.T) process {
	t.Helper()
	p, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	p.Started++
	return p
}

func newJournal(t *testing.T, dir string, r record) *journal {
	t.Helper()
	r.Version = journalVersion
	if r.Interface == "" {
		r.Interface = "wg0"
	}
	j, err := createJournal(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	self, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal(t, dir, record{Process: self, Mark: 51820, PostDown: []string{"true"}})
	if err := j.add(step{Kind: stepRule, Rule: &rule{Priority: 5, Table: 6}}); err != nil {
		t.Fatal(err)
	}
	if err := j.add(step{Kind: stepResolvConf, Path: "/x", Old: "a\n", Wrote: "b", Existed: true}); err != nil {
		t.Fatal(err)
	}
	got, err := readJournal(dir, "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(j, got, cmp.AllowUnexported(journal{})); diff != "" {
		t.Errorf("journal (-written +read):\n%s", diff)
	}
	info, err := os.Stat(j.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v; want 0600", info.Mode(), err)
	}
	if _, err := createJournal(dir, record{Interface: "wg0"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second journal of the same name: %v", err)
	}
	newJournal(t, dir, record{Interface: "wg1", Process: self})
	others := readJournals(dir, "wg1")
	if len(others) != 1 || others[0].Interface != "wg0" {
		t.Errorf("journals but wg1's: %+v", others)
	}
	if pid, running, err := Owner(dir, "wg0"); pid != os.Getpid() || !running || err != nil {
		t.Errorf("owner %d, %v, %v", pid, running, err)
	}
	if err := j.remove(); err != nil {
		t.Fatal(err)
	}
	if j, err := readJournal(dir, "wg0"); j != nil || err != nil {
		t.Errorf("after its end: %v, %v", j, err)
	}
	if _, running, err := Owner(dir, "wg0"); running || err != nil {
		t.Errorf("owner after its end: %v, %v", running, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestReadJournalRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"written by others", `{"version":1,"interface":"wg0"}`, 0o622, "only this user can write"},
		{"damaged", `{"version":1,`, 0o600, "damaged"},
		{"empty", ``, 0o600, "damaged"},
		{"of another version", `{"version":2,"interface":"wg0"}`, 0o600, "another version"},
		{"of another tunnel", `{"version":1,"interface":"wg1"}`, 0o600, "another tunnel"},
		{"large", strings.Repeat(" ", maxJournalBytes+1), 0o600, "more than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := journalPath(dir, "wg0")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil { // past the umask
				t.Fatal(err)
			}
			if _, err := readJournal(dir, "wg0"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if cleaned, err := CleanUp(t.Context(), dir, "wg0"); cleaned || err == nil {
				t.Errorf("CleanUp: %v, %v", cleaned, err)
			}
		})
	}
	t.Run("a link", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink("/etc/passwd", journalPath(dir, "wg0")); err != nil {
			t.Fatal(err)
		}
		if _, err := readJournal(dir, "wg0"); err == nil || !strings.Contains(err.Error(), "only this user can write") {
			t.Errorf("error %v", err)
		}
	})
}

func TestClaim(t *testing.T) {
	dir := t.TempDir()
	if j, err := claim(dir, "wg0"); j != nil || err != nil {
		t.Errorf("where there is none: %v, %v", j, err)
	}
	if j, err := claim(filepath.Join(dir, "missing"), "wg0"); j != nil || err != nil {
		t.Errorf("where there is no folder: %v, %v", j, err)
	}
	steps := []step{{Kind: stepRule, Rule: &rule{Priority: 5}}, {Kind: stepResolvConf, Path: "/x"}}
	newJournal(t, dir, record{Process: dead(t), PostDown: []string{"true"}, Steps: steps})
	j, err := claim(dir, "wg0")
	if err != nil || j == nil {
		t.Fatal(j, err)
	}
	if diff := cmp.Diff(steps, j.Steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if _, err := claim(dir, "wg0"); !errors.Is(err, ErrRunning) {
		t.Errorf("claimed twice: %v", err)
	}

	other := dead(t)
	other.Boot = "another"
	newJournal(t, dir, record{Interface: "wg1", Process: other, PreDown: []string{"true"}, PostDown: []string{"true"}, Steps: steps})
	j, err = claim(dir, "wg1")
	if err != nil {
		t.Fatal(err)
	}
	if len(j.PreDown)+len(j.PostDown) > 0 || len(j.Steps) != 1 || j.Steps[0].Kind != stepResolvConf {
		t.Errorf("after a start of the system more than the file is to be undone: %+v", j.record)
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", "../wg0", "/etc/wg0", "a b", "sixteen-letters-"} {
		if _, err := CleanUp(t.Context(), dir, name); err == nil || !strings.Contains(err.Error(), "not the name") {
			t.Errorf("CleanUp of %q: %v", name, err)
		}
		if _, _, err := Owner(dir, name); err == nil || !strings.Contains(err.Error(), "not the name") {
			t.Errorf("Owner of %q: %v", name, err)
		}
	}
}

// TestUndo: the last step first, commands once, and what fails stays.
func TestUndo(t *testing.T) {
	dir := t.TempDir()
	marks := filepath.Join(dir, "marks")
	good, bad := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "folder")
	if err := os.Mkdir(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := planResolvConf(good, "wg0", testServers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.doResolvConf(); err != nil {
		t.Fatal(err)
	}
	failing := step{Kind: stepResolvConf, Path: bad}
	j := newJournal(t, dir, record{
		Process: dead(t), Steps: []step{s, failing},
		PreDown:  []string{"echo pre %i >>" + marks, "exit 7"},
		PostDown: []string{"echo post >>" + marks},
	})
	var out bytes.Buffer
	h := hooks{name: "wg0", output: &out, logger: orDiscard(nil)}
	closed := errors.New("closing failed")
	err = j.undo(t.Context(), h, orDiscard(nil), func() error {
		if text, err := os.ReadFile(marks); err != nil || string(text) != "pre wg0\n" {
			t.Errorf("before closing: %q, %v", text, err)
		}
		if _, err := os.Stat(good); err == nil {
			t.Error("closed before the steps were undone")
		}
		return closed
	})
	for _, want := range []string{"exit status 7", "folder can't be read", "closing failed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	left, err := readJournal(dir, "wg0")
	if err != nil {
		t.Fatal(err)
	}
	want := record{Version: journalVersion, Interface: "wg0", Process: j.Process, Steps: []step{failing}}
	if diff := cmp.Diff(want, left.record, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what stays in the journal (-want +got):\n%s", diff)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	if cleaned, err := CleanUp(t.Context(), dir, "wg0"); !cleaned || err != nil {
		t.Errorf("another try: %v, %v", cleaned, err)
	}
	if text, err := os.ReadFile(marks); err != nil || string(text) != "pre wg0\npost\n" {
		t.Errorf("commands that ran: %q, %v", text, err)
	}
}

// TestInterruptedCommand: a context ends a command, and nothing but commands.
func TestInterruptedCommand(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "resolv.conf")
	s, err := planResolvConf(path, "wg0", testServers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.doResolvConf(); err != nil {
		t.Fatal(err)
	}
	j := newJournal(t, dir, record{Process: dead(t), Steps: []step{s}, PreDown: []string{"exec sleep 1000"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = j.undo(ctx, hooks{name: "wg0", logger: orDiscard(nil)}, orDiscard(nil), func() error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("resolv.conf was not restored")
	}
}

func TestProcess(t *testing.T) {
	self, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	if !self.alive() {
		t.Error("this process is not alive")
	}
	if dead(t).alive() {
		t.Error("a process of the same number, begun at another time, is alive")
	}
	if (process{}).alive() {
		t.Error("no process is alive")
	}
	// One that has ended and that nobody has asked for yet.
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	eventually(t, func() string {
		if _, alive := startOf(cmd.Process.Pid); alive {
			return "a process that has ended counts as alive"
		}
		return ""
	})
}

func TestChooseDNS(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	script := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	nobody := filepath.Join(dir, "socket")
	check := func(resolved, want string) {
		t.Helper()
		if got := chooseDNS(resolved); got != want {
			t.Errorf("name servers are set by %s, want %s", got, want)
		}
	}
	check(nobody, stepResolvConf)
	script("resolvectl")
	check(nobody, stepResolvConf) // nobody listens
	if err := os.Symlink("resolvectl", filepath.Join(dir, "resolvconf")); err != nil {
		t.Fatal(err)
	}
	check(nobody, stepResolvConf)
	check(listen(t, nobody), stepResolvectl)
	if err := os.Remove(filepath.Join(dir, "resolvconf")); err != nil {
		t.Fatal(err)
	}
	check(nobody, stepResolvectl)
	script("resolvconf")
	check(nobody, stepResolvconf)
}

func TestRecordPrefix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "interface-order")
	if got := recordPrefix(path); got != "" {
		t.Errorf("without a file: %q", got)
	}
	if err := os.WriteFile(path, []byte("# comment*\nlo.inet6\nlo.*\ntun*\ntap*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := recordPrefix(path); got != "tun." {
		t.Errorf("prefix %q, want tun.", got)
	}
}
