package wgapply

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/vpn"
)

func TestPlan(t *testing.T) {
	peers := []vpn.PeerState{
		{PublicKey: bob},
		{PublicKey: mallory, Keepalive: 9 * time.Second},
		{PublicKey: alice, Keepalive: 25 * time.Second},
	}
	absent := vpn.PublicKey{0: 0xff}
	got, err := Plan("wg0", peers, map[vpn.PublicKey]uint16{alice: 52, bob: 0, absent: 3})
	if !errors.Is(err, ErrNoPeer) || !strings.Contains(err.Error(), absent.String()) || strings.Contains(err.Error(), alice.String()) {
		t.Errorf("error = %v, want ErrNoPeer with %s only", err, absent)
	}
	want := []Change{{"wg0", bob, 0, 0}, {"wg0", alice, 25, 52}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Plan (-want +got):\n%s", diff)
	}
	if got, err := Plan("wg0", peers, nil); len(got) != 0 || err != nil {
		t.Errorf("Plan of nothing = %v, %v", got, err)
	}
}

func TestChangeString(t *testing.T) {
	tests := []struct {
		change Change
		needed bool
		want   string
	}{
		{Change{"wg0", alice, 25, 52}, true, "wg0: peer " + alice.String() + ": persistent keepalive 25 s becomes 52 s"},
		{Change{"wg0", alice, 0, 52}, true, "wg0: peer " + alice.String() + ": persistent keepalive off becomes 52 s"},
		{Change{"wg0", alice, 25, 0}, true, "wg0: peer " + alice.String() + ": persistent keepalive 25 s becomes off"},
		{Change{"wg0", alice, 25, 25}, false, "wg0: peer " + alice.String() + ": persistent keepalive 25 s stays"},
	}
	for _, tt := range tests {
		if got := tt.change.String(); got != tt.want {
			t.Errorf("String() = %q, want %q", got, tt.want)
		}
		if got := tt.change.Needed(); got != tt.needed {
			t.Errorf("%v: Needed() = %v, want %v", tt.change, got, tt.needed)
		}
	}
}
