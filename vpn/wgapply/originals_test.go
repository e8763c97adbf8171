package wgapply

import (
	"errors"
	"path/filepath"
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
