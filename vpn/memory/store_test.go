package memory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/network"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func entry(n int) Entry {
	upper := 30.5
	keepalive := 25
	return Entry{
		Network: network.ID(fmt.Sprintf("%016x", n)), Label: "eth0", Family: results.IPv4, IntervalS: 25,
		Lifetimes:      []results.Lifetime{{Regime: results.Exchange, LowerS: 30, UpperS: &upper}},
		Recommendation: &results.Recommendation{KeepaliveS: &keepalive, Basis: "exchange", Alternatives: []results.Alternative{}},
		MeasuredAt:     noon.Add(time.Duration(n) * time.Minute),
	}
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, e Entry) {
	t.Helper()
	if err := s.Put(e); err != nil {
		t.Fatal(err)
	}
}

// expect checks what a store knows of a network; nil: nothing.
func expect(t *testing.T, s *Store, n int, want *Entry) {
	t.Helper()
	got, ok := s.Get(entry(n).Network, results.IPv4)
	switch {
	case want == nil && ok:
		t.Errorf("network %d is known: %+v", n, got)
	case want != nil && !ok:
		t.Errorf("network %d is not known", n)
	case want != nil:
		if diff := cmp.Diff(*want, got); diff != "" {
			t.Errorf("network %d (-want +got):\n%s", n, diff)
		}
	}
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "natprobe")
	s := open(t, dir)
	one, two := entry(1), entry(2)
	two.VerifiedAt = noon.Add(time.Hour)
	put(t, s, one)
	put(t, s, two)
	six := one
	six.Family, six.IntervalS = results.IPv6, 50
	put(t, s, six)
	again := open(t, dir)
	if diff := cmp.Diff(s.Salt(), again.Salt()); diff != "" || len(s.Salt()) != saltSize {
		t.Errorf("the salt changed, or has not %d bytes:\n%s", saltSize, diff)
	}
	expect(t, again, 1, &one)
	expect(t, again, 2, &two)
	if got, ok := again.Get(six.Network, results.IPv6); !ok || got.IntervalS != 50 {
		t.Errorf("IPv6 has %+v, %v", got, ok)
	}
	one.IntervalS = 60
	put(t, again, one)
	if err := again.Forget(two.Network, two.Family); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, dir), 1, &one)
	expect(t, open(t, dir), 2, nil)
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("others can read it: %v", info.Mode())
	}
	left, err := filepath.Glob(filepath.Join(dir, fileName+".*"))
	if err != nil || len(left) > 1 { // the lock may be there
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestTwoProcesses: nobody loses what the other one learned.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	const each = 20
	var all sync.WaitGroup
	for p := range 2 {
		s := open(t, dir)
		all.Go(func() {
			for i := range each {
				if err := s.Put(entry(p*each + i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s := open(t, dir)
	for i := range 2 * each {
		want := entry(i)
		expect(t, s, i, &want)
	}
}

func TestBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range maxEntries {
		s.known[entry(i).key()] = entry(i)
	}
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	put(t, s, entry(maxEntries))
	last := entry(maxEntries)
	expect(t, s, maxEntries, &last)
	expect(t, s, 0, nil)
	one := entry(1)
	expect(t, s, 1, &one)
}

func TestDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut off": `{"schema": "natprobe.networks/1", "salt": "AAA`, "another file": `{"schema": "x"}`,
		"short salt": `{"schema": "natprobe.networks/1", "salt": "AAAA"}`, "too long": strings.Repeat(" ", maxFile+1),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, fileName)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir)
			if err == nil || !strings.Contains(err.Error(), path+".bad") {
				t.Fatalf("the error is %v", err)
			}
			one := entry(1)
			put(t, s, one)
			expect(t, open(t, dir), 1, &one)
			aside, err := os.ReadFile(path + ".bad")
			if err != nil || string(aside) != text {
				t.Errorf("what was there is not kept: %v", err)
			}
		})
	}
}

// TestBadEntries: one that makes no sense spoils no other.
func TestBadEntries(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	one, bad := entry(1), entry(2)
	bad.IntervalS = -1
	s.known[one.key()], s.known[bad.key()] = one, bad
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	expect(t, s, 1, &one)
	expect(t, s, 2, nil)
	if err := s.Put(bad); err == nil {
		t.Error("a bad entry was taken")
	}
	if err := s.Put(Entry{}); err == nil {
		t.Error("an empty entry was taken")
	}
}

// TestUnwritable: a folder that can't be written is remembered for as long as
// the process lives, and said each time.
func TestUnwritable(t *testing.T) {
	// A file where the folder would be stops root, too.
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(filepath.Join(path, "state"))
	if err == nil || !strings.Contains(err.Error(), "forgotten when this process ends") {
		t.Fatalf("the error is %v", err)
	}
	if len(s.Salt()) != saltSize {
		t.Errorf("the salt has %d bytes", len(s.Salt()))
	}
	one := entry(1)
	if err := s.Put(one); err == nil {
		t.Error("nothing is said of what can't be written")
	}
	expect(t, s, 1, &one)
	if err := s.Forget(one.Network, one.Family); err == nil {
		t.Error("nothing is said of what can't be written")
	}
	expect(t, s, 1, nil)
}

// TestWritableLater: what was pending is written with the next change.
func TestWritableLater(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err == nil {
		t.Fatal("a file is no folder")
	}
	one, two := entry(1), entry(2)
	if err := s.Put(one); err == nil {
		t.Fatal("a file is no folder")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	put(t, s, two)
	again := open(t, dir)
	expect(t, again, 1, &one)
	expect(t, again, 2, &two)
	if diff := cmp.Diff(s.Salt(), again.Salt()); diff != "" {
		t.Errorf("what was learned is named by another salt:\n%s", diff)
	}
}

// TestReadOnlyFile: what can be read is of use although nothing can be written.
func TestReadOnlyFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	one := entry(1)
	put(t, s, one)
	// A folder in the lock's place stops root, too.
	path := filepath.Join(dir, fileName+".lock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err == nil {
		t.Skip("this system takes no lock")
	}
	expect(t, again, 1, &one)
	if diff := cmp.Diff(s.Salt(), again.Salt()); diff != "" {
		t.Errorf("another salt:\n%s", diff)
	}
}
