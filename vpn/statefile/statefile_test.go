package statefile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	for _, text := range []string{"first, and longer", "second"} {
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("the file says %q, %v; want %q", got, err, text)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v", info.Mode())
	}
	// What can't be replaced leaves nothing behind.
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(dir, "folder"), []byte("text")); err == nil {
		t.Error("a folder was replaced")
	}
	if err := Replace(filepath.Join(dir, "nowhere", "file"), nil); err == nil {
		t.Error("a folder was made")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	switch second, err := Lock(gone, path); {
	case err == nil:
		second()
		unlock()
		t.Skipf("SKIPPED, %s HAS NO LOCKS", runtime.GOOS)
	case !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), path):
		t.Errorf("while it is held: %v", err)
	}
	if _, err := Lock(t.Context(), path); !errors.Is(err, errHeld) {
		t.Errorf("held for long: %v", err)
	}
	unlock()
	unlock, err = Lock(t.Context(), path)
	if err != nil {
		t.Fatalf("when it is free again: %v", err)
	}
	unlock()
}
