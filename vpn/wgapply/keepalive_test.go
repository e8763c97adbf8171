package wgapply

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/vpn"
)

// TestSetKeepalive checks the requests: 0 first, only if the peer exists, and
// nothing else in them.
func TestSetKeepalive(t *testing.T) {
	entry := func(peer vpn.PublicKey, interval time.Duration) wgtypes.PeerConfig {
		return wgtypes.PeerConfig{PublicKey: wgtypes.Key(peer), UpdateOnly: true, PersistentKeepaliveInterval: &interval}
	}
	tests := []struct {
		name    string
		peer    vpn.PublicKey
		seconds uint16
		want    []wgtypes.PeerConfig
	}{
		{"another value", alice, 52, []wgtypes.PeerConfig{entry(alice, 0), entry(alice, 52*time.Second)}},
		{"from none", bob, 1, []wgtypes.PeerConfig{entry(bob, 0), entry(bob, time.Second)}},
		{"to none", alice, 0, []wgtypes.PeerConfig{entry(alice, 0)}},
		{"the longest", alice, 65535, []wgtypes.PeerConfig{entry(alice, 0), entry(alice, 65535*time.Second)}},
		{"in force already", alice, 25, nil},
		{"none already", bob, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fakeKernel()
			if err := openFake(t, f, "wg0").SetKeepalive(t.Context(), tt.peer, tt.seconds); err != nil {
				t.Fatal(err)
			}
			var want []wgtypes.Config
			if tt.want != nil {
				want = []wgtypes.Config{{Peers: tt.want}}
			}
			if diff := cmp.Diff(want, f.configs); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSetKeepaliveErrors(t *testing.T) {
	tests := []struct {
		name   string
		peer   vpn.PublicKey
		change func(*fakeControl)
		is     error
		says   string
	}{
		{"no such peer", mallory, func(*fakeControl) {}, ErrNoPeer, mallory.String()},
		{
			"removed meanwhile", alice,
			func(f *fakeControl) { f.meddle = func(d *wgtypes.Device) { d.Peers = nil } },
			ErrNoPeer, alice.String(),
		},
		{
			"somebody else sets it", alice,
			func(f *fakeControl) {
				f.meddle = func(d *wgtypes.Device) { d.Peers[0].PersistentKeepaliveInterval = 9 * time.Second }
			},
			nil, "is 9 s after it was set to 52 s",
		},
		{
			"interface gone meanwhile", alice,
			func(f *fakeControl) { f.meddle = func(*wgtypes.Device) { clear(f.devices) } },
			ErrNoInterface, "can't be verified",
		},
		{"not allowed", alice, func(f *fakeControl) { f.failSet = syscall.EPERM }, fs.ErrPermission, "sudo"},
		{
			"no update-only", alice,
			func(f *fakeControl) { f.failSet = wgtypes.ErrUpdateOnlyNotSupported },
			ErrRefused, "persistent-keepalive 52",
		},
		{
			"BoringTun", alice,
			func(f *fakeControl) {
				f.devices["wg0"].Type = wgtypes.Userspace
				f.devices["wg0"].Peers[0].ProtocolVersion = 0
				f.failSet = errors.New("it must not come to this")
			},
			ErrRefused, "PersistentKeepalive = 52",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fakeKernel()
			i := openFake(t, f, "wg0")
			tt.change(f)
			err := i.SetKeepalive(t.Context(), tt.peer, 52)
			if err == nil {
				t.Fatal("no error")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error is not %v: %v", tt.is, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error doesn't say %q: %v", tt.says, err)
			}
		})
	}
}
