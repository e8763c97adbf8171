package wgapply

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/vpn"
)

// set sets the interval of a fake's peer as somebody else would.
func (f *fakeControl) set(peer vpn.PublicKey, seconds int) {
	d := f.devices["wg0"]
	for at := range d.Peers {
		if d.Peers[at].PublicKey == wgtypes.Key(peer) {
			d.Peers[at].PersistentKeepaliveInterval = time.Duration(seconds) * time.Second
		}
	}
}

func store(t *testing.T, dir string) *Originals {
	t.Helper()
	o, err := OpenOriginals(dir)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func mustSet(t *testing.T, o *Originals, i *Interface, peer vpn.PublicKey, seconds uint16) {
	t.Helper()
	if _, err := o.SetKeepalive(t.Context(), i, peer, seconds); err != nil {
		t.Fatal(err)
	}
}

func reversal(peer vpn.PublicKey, before, after uint16, outcome Outcome) Reversal {
	return Reversal{Change{"wg0", peer, before, after}, outcome}
}

// TestRevert checks what becomes of intervals after natprobe set them, and maybe
// somebody else, too.
func TestRevert(t *testing.T) {
	type step struct {
		by      string // natprobe, or who sets it without a word
		seconds uint16
	}
	tests := []struct {
		name  string
		steps []step
		want  []Reversal
	}{
		{"nothing changed", nil, nil},
		{"once", []step{{"natprobe", 52}}, []Reversal{reversal(alice, 52, 25, Restored)}},
		{"twice", []step{{"natprobe", 52}, {"natprobe", 79}}, []Reversal{reversal(alice, 79, 25, Restored)}},
		{"many times", []step{{"natprobe", 52}, {"natprobe", 79}, {"natprobe", 12}, {"natprobe", 0}}, []Reversal{reversal(alice, 0, 25, Restored)}},
		{"to what it was", []step{{"natprobe", 52}, {"natprobe", 25}}, []Reversal{reversal(alice, 25, 25, AsBefore)}},
		{"no change", []step{{"natprobe", 25}}, nil},
		{"by hand after", []step{{"natprobe", 52}, {"hand", 30}}, []Reversal{reversal(alice, 30, 30, SetByOthers)}},
		{"by hand between", []step{{"natprobe", 52}, {"hand", 30}, {"natprobe", 79}}, []Reversal{reversal(alice, 79, 30, Restored)}},
		{"interface made anew", []step{{"natprobe", 52}, {"wg-quick", 25}}, []Reversal{reversal(alice, 25, 25, AsBefore)}},
		{"made anew and tuned again", []step{{"natprobe", 52}, {"wg-quick", 25}, {"natprobe", 52}}, []Reversal{reversal(alice, 52, 25, Restored)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made", "when needed")
			f := fakeKernel()
			i := openFake(t, f, "wg0")
			for _, s := range tt.steps {
				if s.by == "natprobe" {
					// Each time by another process.
					mustSet(t, store(t, dir), i, alice, s.seconds)
				} else {
					f.set(alice, int(s.seconds))
				}
			}
			o := store(t, dir)
			requests := len(f.configs)
			plan, err := o.PlanRevert(t.Context(), i)
			if diff := cmp.Diff(tt.want, plan, cmp.Transformer("empty", nilIfEmpty)); diff != "" || err != nil {
				t.Errorf("PlanRevert (-want +got), error %v:\n%s", err, diff)
			}
			if len(f.configs) != requests {
				t.Error("a plan changed something")
			}
			got, err := o.Revert(t.Context(), i)
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("empty", nilIfEmpty)); diff != "" || err != nil {
				t.Errorf("Revert (-want +got), error %v:\n%s", err, diff)
			}
			for _, r := range got {
				if now := peerOf(t, i, r.Peer); seconds(now.Keepalive) != r.New {
					t.Errorf("interval after Revert is %v, want %d s", now.Keepalive, r.New)
				}
			}
			if again, err := store(t, dir).Revert(t.Context(), i); len(again) != 0 || err != nil {
				t.Errorf("second Revert = %v, %v, want nothing", again, err)
			}
		})
	}
}

func nilIfEmpty(r []Reversal) []Reversal {
	if len(r) == 0 {
		return nil
	}
	return r
}

// TestRevertSeveral checks that peers and interfaces are kept apart, and what
// becomes of a peer that is gone or can't be set.
func TestRevertSeveral(t *testing.T) {
	dir := t.TempDir()
	f := fakeKernel()
	d := *f.devices["wg0"]
	d.Name = "wg1"
	d.Peers = append([]wgtypes.Peer(nil), d.Peers...)
	f.devices["wg1"] = &d
	i, other := openFake(t, f, "wg0"), openFake(t, f, "wg1")
	o := store(t, dir)
	mustSet(t, o, i, alice, 52)
	mustSet(t, o, i, bob, 53)
	mustSet(t, o, other, alice, 54)

	f.devices["wg0"].Peers = f.devices["wg0"].Peers[1:] // alice goes
	f.failSet = syscall.ENOMEM
	got, err := o.Revert(t.Context(), i)
	if diff := cmp.Diff([]Reversal{reversal(alice, 0, 0, Gone)}, got); diff != "" || !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("Revert where one can't be set (-want +got), error %v:\n%s", err, diff)
	}
	f.failSet = nil
	got, err = store(t, dir).Revert(t.Context(), i)
	if diff := cmp.Diff([]Reversal{reversal(bob, 53, 0, Restored)}, got); diff != "" || err != nil {
		t.Errorf("Revert (-want +got), error %v:\n%s", err, diff)
	}
	if now := peerOf(t, other, alice).Keepalive; now != 54*time.Second {
		t.Errorf("the other interface has %v now, want 54s", now)
	}
	got, err = store(t, dir).Revert(t.Context(), other)
	want := []Reversal{{Change{"wg1", alice, 54, 25}, Restored}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Revert of the other (-want +got), error %v:\n%s", err, diff)
	}
}

// TestEndBetween checks the two moments at which a process can end: the new
// interval is noted, but not set.
func TestEndBetween(t *testing.T) {
	for _, tt := range []struct {
		name string
		old  uint16 // set by natprobe before
		want Reversal
	}{
		{"first change", 25, reversal(alice, 79, 25, Restored)},
		{"second change", 52, reversal(alice, 79, 25, Restored)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			f := fakeKernel()
			i := openFake(t, f, "wg0")
			mustSet(t, store(t, dir), i, alice, tt.old)
			f.failSet = syscall.ENOMEM
			if _, err := store(t, dir).SetKeepalive(t.Context(), i, alice, 60); !errors.Is(err, syscall.ENOMEM) {
				t.Fatalf("SetKeepalive = %v, want ENOMEM", err)
			}
			f.failSet = nil
			mustSet(t, store(t, dir), i, alice, 79)
			got, err := store(t, dir).Revert(t.Context(), i)
			if diff := cmp.Diff([]Reversal{tt.want}, got); diff != "" || err != nil {
				t.Errorf("Revert (-want +got), error %v:\n%s", err, diff)
			}
		})
	}
}

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

func TestReversalString(t *testing.T) {
	for _, r := range []Reversal{
		reversal(alice, 52, 25, Restored), reversal(alice, 25, 25, AsBefore),
		reversal(alice, 30, 30, SetByOthers), reversal(alice, 0, 0, Gone),
	} {
		want := map[Outcome]string{
			Restored:    "persistent keepalive 52 s becomes 25 s, as it was before natprobe",
			AsBefore:    "persistent keepalive 25 s is as it was before natprobe",
			SetByOthers: "persistent keepalive 30 s stays: somebody else set it after natprobe",
			Gone:        "is gone, and so is what natprobe changed",
		}[r.Outcome]
		if got := r.String(); got != "wg0: peer "+alice.String()+": "+want {
			t.Errorf("String() = %q, want %q at its end", got, want)
		}
	}
}
