package memory

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/statefile"
)

// child names the first of the networks that a child process of the tests is to
// remember, in the folder where it runs.
const child = "NATPROBE_TEST_MEMORY_CHILD"

const eachChild = 15

func TestMain(m *testing.M) {
	if task := os.Getenv(child); task != "" {
		os.Exit(runChild(task))
	}
	os.Exit(m.Run())
}

func runChild(task string) int {
	from, err := strconv.Atoi(task)
	if err != nil {
		return 2
	}
	s, err := Open(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("%x", s.Salt())
	for i := range eachChild {
		if err := s.Put(entry(from + i)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

// TestProcesses: they begin in an empty folder at the same time, have one salt,
// and nobody loses what another one learned.
func TestProcesses(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var running []*exec.Cmd
	var salts []*bytes.Buffer
	for p := range 3 {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", child, p*eachChild))
		cmd.Dir = dir
		out := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running, salts = append(running, cmd), append(salts, out)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	for p, salt := range salts {
		if got, want := salt.String(), fmt.Sprintf("%x", s.Salt()); got != want {
			t.Errorf("process %d has the salt %s, want %s", p, got, want)
		}
	}
	for i := range 3 * eachChild {
		want := entry(i)
		expect(t, s, i, &want)
	}
}

// TestGetSeesOthers: what another process learned counts at once.
func TestGetSeesOthers(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	one := entry(1)
	put(t, a, one)
	expect(t, b, 1, &one)
	one.IntervalS = 60
	put(t, b, one)
	expect(t, a, 1, &one)
	if err := a.Forget(one.Network, one.Family); err != nil {
		t.Fatal(err)
	}
	expect(t, b, 1, nil)
}

// TestRemovedFile: who removes it wants it forgotten, also by who runs.
func TestRemovedFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	one, two := entry(1), entry(2)
	put(t, s, one)
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	put(t, s, two)
	again := open(t, dir)
	expect(t, again, 1, nil)
	expect(t, again, 2, &two)
	if !bytes.Equal(s.Salt(), again.Salt()) {
		t.Error("the salt changed under a process that uses it")
	}
}

// TestAnotherSalt: names made with one salt must not get among those of another.
func TestAnotherSalt(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	s := open(t, dir)
	other := open(t, elsewhere)
	two := entry(2)
	put(t, other, two)
	before := s.Salt()
	if err := os.Rename(filepath.Join(elsewhere, fileName), filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	one := entry(1)
	if err := s.Put(one); err == nil || !strings.Contains(err.Error(), "another salt") {
		t.Errorf("the error is %v", err)
	}
	if !bytes.Equal(s.Salt(), before) {
		t.Error("the salt changed under a process that uses it")
	}
	expect(t, s, 1, &one)
	expect(t, s, 2, nil)
	again := open(t, dir)
	expect(t, again, 1, nil)
	expect(t, again, 2, &two)
}

// TestHeldLock: a process that is stopped holds nobody up for long.
func TestHeldLock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	unlock, err := statefile.Lock(t.Context(), s.path()+".lock")
	if err != nil {
		t.Fatal(err)
	}
	one := entry(1)
	err = s.Put(one)
	unlock()
	if err == nil {
		t.Skip("this system takes no lock")
	}
	if !strings.Contains(err.Error(), "another natprobe") {
		t.Errorf("the error is %v", err)
	}
	expect(t, s, 1, &one)
	two := entry(2)
	put(t, s, two)
	expect(t, open(t, dir), 1, &one)
	expect(t, open(t, dir), 2, &two)
}

// TestNothingIsWrittenWithoutNeed: to look is not to write.
func TestNothingIsWrittenWithoutNeed(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir), entry(1))
	before, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	after, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("opening the store replaced its file")
	}
}

// TestEntriesAreCopies: whoever changes what was given or got changes nothing
// here.
func TestEntriesAreCopies(t *testing.T) {
	s := open(t, t.TempDir())
	given, want := entry(1), entry(1)
	put(t, s, given)
	for range 2 {
		got, ok := s.Get(given.Network, results.IPv4)
		if !ok {
			t.Fatal("not known")
		}
		for _, e := range []Entry{given, got} {
			*e.Lifetimes[0].UpperS = 1
			e.Lifetimes[0].LowerS = 1
			*e.Recommendation.KeepaliveS = 1
			e.Recommendation.Basis = "changed"
		}
		expect(t, s, 1, &want)
	}
}

// TestUnwritableEntry: one that JSON has no words for keeps no other from being
// written.
func TestUnwritableEntry(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	bad, two := entry(1), entry(2)
	bad.Recommendation.Reachability = math.NaN()
	if err := s.Put(bad); err == nil {
		t.Error("no error for what is not a number")
	}
	put(t, s, two)
	expect(t, open(t, dir), 2, &two)
}
