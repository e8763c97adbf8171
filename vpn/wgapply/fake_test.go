package wgapply

import (
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/vpn"
)

// fakeControl stands in for wgctrl: interfaces in memory that take requests as
// the kernel does.
type fakeControl struct {
	mu      sync.Mutex
	devices map[string]*wgtypes.Device
	// asked counts requests, configs are those that changed something.
	asked   int
	configs []wgtypes.Config

	// What goes wrong, if anything.
	failAll, failGet, failSet error
	spare                     string        // failGet is not for this interface
	stuck                     chan struct{} // questions wait until it is closed
	meddle                    func(d *wgtypes.Device)
}

func (f *fakeControl) wait() {
	if f.stuck != nil {
		<-f.stuck
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
}

func (f *fakeControl) Close() error { return nil }

func (f *fakeControl) Devices() ([]*wgtypes.Device, error) {
	f.wait()
	if f.failAll != nil {
		return nil, f.failAll
	}
	all := make([]*wgtypes.Device, 0, len(f.devices))
	for _, d := range f.devices {
		all = append(all, d)
	}
	return all, nil
}

func (f *fakeControl) Device(name string) (*wgtypes.Device, error) {
	f.wait()
	if f.failGet != nil && name != f.spare {
		return nil, f.failGet
	}
	d, ok := f.devices[name]
	if !ok {
		return nil, os.ErrNotExist
	}
	// An answer of its own, as from a socket.
	answer := *d
	answer.Peers = append([]wgtypes.Peer(nil), d.Peers...)
	return &answer, nil
}

func (f *fakeControl) ConfigureDevice(name string, config wgtypes.Config) error {
	f.wait()
	if f.failSet != nil {
		return f.failSet
	}
	d, ok := f.devices[name]
	if !ok {
		return os.ErrNotExist
	}
	f.configs = append(f.configs, config)
	for _, entry := range config.Peers {
		for at := range d.Peers {
			if p := &d.Peers[at]; p.PublicKey == entry.PublicKey && entry.PersistentKeepaliveInterval != nil {
				p.PersistentKeepaliveInterval = *entry.PersistentKeepaliveInterval
			}
		}
	}
	if f.meddle != nil {
		f.meddle(d)
	}
	return nil
}

// fakeKernel has the interface wg0 with two peers: the first with 25 s, the
// second with none and no endpoint.
func fakeKernel() *fakeControl {
	return &fakeControl{devices: map[string]*wgtypes.Device{"wg0": {
		Name:         "wg0",
		Type:         wgtypes.LinuxKernel,
		PrivateKey:   wgtypes.Key{31: 7},
		PublicKey:    wgtypes.Key{0: 7},
		ListenPort:   51820,
		FirewallMark: 0xca6c,
		Peers: []wgtypes.Peer{
			{
				PublicKey:                   wgtypes.Key(alice),
				PresharedKey:                wgtypes.Key{1, 2, 3},
				Endpoint:                    &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 51820},
				PersistentKeepaliveInterval: 25 * time.Second,
				LastHandshakeTime:           time.Unix(1_790_000_000, 5),
				ReceiveBytes:                1234,
				TransmitBytes:               5678,
				ProtocolVersion:             1,
			},
			{PublicKey: wgtypes.Key(bob), LastHandshakeTime: time.Unix(0, 0), ProtocolVersion: 1},
		},
	}}}
}

var (
	alice   = vpn.PublicKey{0: 0xa1, 31: 1}
	bob     = vpn.PublicKey{0: 0xb0, 31: 2}
	mallory = vpn.PublicKey{0: 0x33, 31: 3}
)

// openFake opens an interface of a fake.
func openFake(t *testing.T, f *fakeControl, name string) *Interface {
	t.Helper()
	i, err := open(f, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return i
}

// peerOf returns the state of a peer.
func peerOf(t *testing.T, i *Interface, key vpn.PublicKey) vpn.PeerState {
	t.Helper()
	peers, err := i.Peers()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		if p.PublicKey == key {
			return p
		}
	}
	t.Fatalf("%s has no peer %s", i.Name(), key)
	return vpn.PeerState{}
}
