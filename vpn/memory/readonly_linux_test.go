package memory

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody gives up the rights of root over files, for this test's thread.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return // has none
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	t.Cleanup(func() { _, _ = unix.SetfsuidRetUid(0) })
	const nobody = 65534
	// It returns the user before, whatever happens; a second call tells.
	_, _ = unix.SetfsuidRetUid(nobody)
	if now, err := unix.SetfsuidRetUid(-1); err != nil || now != nobody {
		t.Skipf("root's rights over files can't be given up: user %d, %v", now, err)
	}
}

// passable lets everybody through to a folder of the test.
func passable(t *testing.T, dir string, mode os.FileMode) {
	t.Helper()
	for d, m := filepath.Dir(dir), os.FileMode(0o755); d != filepath.Dir(d) && d != filepath.Clean(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
}

// TestReadOnlyFolder: what is there is of use, what comes is remembered by this
// process, and said.
func TestReadOnlyFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	one, two := entry(1), entry(2)
	put(t, s, one)
	if err := os.Chmod(s.path(), 0o644); err != nil {
		t.Fatal(err)
	}
	passable(t, dir, 0o555)
	asNobody(t)
	// It has nothing to write, and says so or not.
	again, _ := Open(dir)
	if !bytes.Equal(again.Salt(), s.Salt()) {
		t.Error("another salt")
	}
	expect(t, again, 1, &one)
	if err := again.Put(two); err == nil {
		t.Error("nothing is said of what can't be written")
	}
	expect(t, again, 2, &two)
}

// TestUnreadableFile: it is neither set aside nor replaced.
func TestUnreadableFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	one, two := entry(1), entry(2)
	put(t, s, one)
	if err := os.Chmod(s.path(), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path() + ".lock"); err != nil {
		t.Fatal(err)
	}
	passable(t, dir, 0o777)
	asNobody(t)
	again, err := Open(dir)
	if err == nil {
		t.Fatal("nothing is said of what can't be read")
	}
	if err := again.Put(two); err == nil {
		t.Error("nothing is said of what can't be written")
	}
	expect(t, again, 2, &two)
	if _, err := os.Stat(s.path() + ".bad"); err == nil {
		t.Error("a file that can't be read is set aside")
	}
}
