package wgapply

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/vpn"
)

// TestOriginalsFile checks the file that users and later versions see.
func TestOriginalsFile(t *testing.T) {
	dir := t.TempDir()
	i := openFake(t, fakeKernel(), "wg0")
	o := store(t, dir)
	mustSet(t, o, i, bob, 53)
	mustSet(t, o, i, alice, 52)
	mustSet(t, o, i, alice, 79)
	path := filepath.Join(dir, "applied.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "format": 1,
  "peers": [
    {
      "interface": "wg0",
      "public_key": "` + alice.String() + `",
      "original_s": 25,
      "set_s": [
        52,
        79
      ]
    },
    {
      "interface": "wg0",
      "public_key": "` + bob.String() + `",
      "original_s": 0,
      "set_s": [
        53
      ]
    }
  ]
}
`
	if !strings.Contains(want, alice.String()) || alice.String() > bob.String() {
		t.Fatal("the test's keys are in another order")
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("applied.json (-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("applied.json has mode %o, want 600", got)
	}
	left, err := filepath.Glob(path + ".*")
	if len(left) != 0 || err != nil {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestDamagedFile checks that a damaged file is set aside once, and said.
func TestDamagedFile(t *testing.T) {
	key := alice.String()
	for name, text := range map[string]string{
		"empty":        "",
		"cut":          `{"format":1,"peers":[{"interface":"wg0"`,
		"no format":    `{"peers":[]}`,
		"bad key":      `{"format":1,"peers":[{"interface":"wg0","public_key":"AAAA","original_s":1,"set_s":[2]}]}`,
		"no interface": `{"format":1,"peers":[{"public_key":"` + key + `","original_s":1,"set_s":[2]}]}`,
		"nothing set":  `{"format":1,"peers":[{"interface":"wg0","public_key":"` + key + `","original_s":1}]}`,
		"negative":     `{"format":1,"peers":[{"interface":"wg0","public_key":"` + key + `","original_s":-1,"set_s":[2]}]}`,
		"too long":     `{"format":1,"peers":[]}` + strings.Repeat(" ", maxFileBytes),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "applied.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			o, err := OpenOriginals(dir)
			var warning *StoreError
			if !errors.As(err, &warning) || warning.Aside != path+".bad" || !strings.Contains(err.Error(), path+".bad") {
				t.Errorf("OpenOriginals = %v, want a *StoreError that names %s.bad", err, path)
			}
			if aside, err := os.ReadFile(path + ".bad"); err != nil || string(aside) != text {
				t.Errorf("what was set aside is %.50q, %v", aside, err)
			}
			i := openFake(t, fakeKernel(), "wg0")
			mustSet(t, o, i, alice, 52)
			got, err := store(t, dir).Revert(t.Context(), i)
			if diff := cmp.Diff([]Reversal{reversal(alice, 52, 25, Restored)}, got); diff != "" || err != nil {
				t.Errorf("Revert (-want +got), error %v:\n%s", err, diff)
			}
		})
	}
}

// TestDamagedLater checks the same where the file is damaged while natprobe runs.
func TestDamagedLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "applied.json")
	i := openFake(t, fakeKernel(), "wg0")
	o := store(t, dir)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	change, err := o.SetKeepalive(t.Context(), i, alice, 52)
	var warning *StoreError
	if !errors.As(err, &warning) || warning.Aside == "" || change.New != 52 {
		t.Errorf("SetKeepalive = %v, %v, want the change and a *StoreError", change, err)
	}
	if got, err := store(t, dir).Revert(t.Context(), i); len(got) != 1 || err != nil {
		t.Errorf("Revert = %v, %v, want one", got, err)
	}
}

// TestLaterFormat checks that the file of a later natprobe stays as it is.
func TestLaterFormat(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "applied.json")
	for _, text := range []string{`{"format":2,"peers":[]}`, `{"format":3,"peers":{"wg0":"another shape"}}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := OpenOriginals(dir)
		var warning *StoreError
		if !errors.As(err, &warning) || warning.Aside != "" {
			t.Errorf("OpenOriginals = %v, want a *StoreError that sets nothing aside", err)
		}
		i := openFake(t, fakeKernel(), "wg0")
		if change, err := o.SetKeepalive(t.Context(), i, alice, 52); !errors.As(err, &warning) || change.New != 52 {
			t.Errorf("SetKeepalive = %v, %v, want the change and a *StoreError", change, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("the file is %q, %v, want %q", now, err, text)
		}
	}
}

// TestUnwritable checks that intervals are set, and taken back by the same
// process, where nothing can be written.
func TestUnwritable(t *testing.T) {
	noFolder := func(t *testing.T) string { t.Helper(); return "" }
	fileInTheWay := func(t *testing.T) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(path, "folder")
	}
	for name, dir := range map[string]func(*testing.T) string{"no folder": noFolder, "a file in the way": fileInTheWay} {
		t.Run(name, func(t *testing.T) {
			i := openFake(t, fakeKernel(), "wg0")
			dir := dir(t)
			o, _ := OpenOriginals(dir)
			for _, seconds := range []uint16{52, 79} {
				change, err := o.SetKeepalive(t.Context(), i, alice, seconds)
				var warning *StoreError
				if !errors.As(err, &warning) || !strings.Contains(err.Error(), "another process can't revert") {
					t.Errorf("SetKeepalive: %v, want a *StoreError", err)
				}
				if change.New != seconds || !change.Needed() {
					t.Errorf("change = %v", change)
				}
			}
			got, err := o.Revert(t.Context(), i)
			var warning *StoreError
			if diff := cmp.Diff([]Reversal{reversal(alice, 79, 25, Restored)}, got); diff != "" || !errors.As(err, &warning) {
				t.Errorf("Revert (-want +got), error %v:\n%s", err, diff)
			}
			if again, _ := o.Revert(t.Context(), i); len(again) != 0 {
				t.Errorf("second Revert = %v, want nothing", again)
			}
		})
	}
}

// TestUnwritableLater checks that what the file has can still be taken back where
// it can't be changed any more, and that what couldn't be written is written as
// soon as it can.
func TestUnwritableLater(t *testing.T) {
	dir := t.TempDir()
	i := openFake(t, fakeKernel(), "wg0")
	o := store(t, dir)
	mustSet(t, o, i, alice, 52)
	// What can't be opened for writing, for root neither, is a folder.
	lockPath := filepath.Join(dir, "applied.lock")
	if err := os.Remove(lockPath); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(lockPath, 0o700); err != nil {
		t.Fatal(err)
	}
	var warning *StoreError
	if change, err := o.SetKeepalive(t.Context(), i, bob, 53); !errors.As(err, &warning) || change.New != 53 {
		t.Errorf("SetKeepalive = %v, %v, want the change and a *StoreError", change, err)
	}
	got, err := o.Revert(t.Context(), i)
	want := []Reversal{reversal(alice, 52, 25, Restored), reversal(bob, 53, 0, Restored)}
	if diff := cmp.Diff(want, got); diff != "" || !errors.As(err, &warning) {
		t.Errorf("Revert (-want +got), error %v:\n%s", err, diff)
	}
	if change, err := o.SetKeepalive(t.Context(), i, bob, 54); !errors.As(err, &warning) || change.New != 54 {
		t.Errorf("SetKeepalive = %v, %v, want the change and a *StoreError", change, err)
	}
	if err := os.Remove(lockPath); err != nil {
		t.Fatal(err)
	}
	mustSet(t, o, i, alice, 30)
	got, err = store(t, dir).Revert(t.Context(), i)
	want = []Reversal{reversal(alice, 30, 25, Restored), reversal(bob, 54, 0, Restored)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Revert by another process (-want +got), error %v:\n%s", err, diff)
	}
}

// TestManyAtOnce checks that stores on one folder don't lose what others note.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	f := fakeKernel()
	const peers = 24
	d := f.devices["wg0"]
	d.Peers = nil
	for n := range peers {
		d.Peers = append(d.Peers, wgtypes.Peer{PublicKey: wgtypes.Key{0: byte(n), 1: 1}, ProtocolVersion: 1})
	}
	var all sync.WaitGroup
	for n := range peers {
		// A store of its own, as of another process, and an interface of its own.
		mine := *d
		i := openFake(t, &fakeControl{devices: map[string]*wgtypes.Device{"wg0": &mine}}, "wg0")
		mine.Peers = append([]wgtypes.Peer(nil), d.Peers...)
		all.Go(func() {
			o, err := OpenOriginals(dir)
			if err != nil {
				t.Error(err)
			}
			if _, err := o.SetKeepalive(t.Context(), i, vpn.PublicKey{0: byte(n), 1: 1}, 52); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	plan, err := store(t, dir).PlanRevert(t.Context(), openFake(t, f, "wg0"))
	if len(plan) != peers || err != nil {
		t.Errorf("%d peers are kept (%v), want %d", len(plan), err, peers)
	}
}
