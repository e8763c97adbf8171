package wgapply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/vpn"
)

var byValue = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func TestInfo(t *testing.T) {
	got, err := openFake(t, fakeKernel(), "wg0").Info()
	if err != nil {
		t.Fatal(err)
	}
	want := Info{Name: "wg0", Kind: Kernel, PublicKey: vpn.PublicKey{0: 7}, ListenPort: 51820, FwMark: 0xca6c}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Info (-want +got):\n%s", diff)
	}
}

// TestInfoOfProgramWithoutKey checks that the public key of no private key isn't
// taken for one.
func TestInfoOfProgramWithoutKey(t *testing.T) {
	f := fakeKernel()
	d := f.devices["wg0"]
	d.Type, d.PrivateKey, d.PublicKey = wgtypes.Userspace, wgtypes.Key{}, wgtypes.Key{}.PublicKey()
	got, err := openFake(t, f, "wg0").Info()
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != Userspace || !got.PublicKey.IsZero() {
		t.Errorf("Info = %+v, want a userspace interface without a key", got)
	}
}

func TestPeers(t *testing.T) {
	got, err := openFake(t, fakeKernel(), "wg0").Peers()
	if err != nil {
		t.Fatal(err)
	}
	want := []vpn.PeerState{
		{
			PublicKey: alice, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Keepalive: 25 * time.Second,
			LastHandshake: time.Unix(1_790_000_000, 5), ReceivedBytes: 1234, SentBytes: 5678,
		},
		{PublicKey: bob},
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("Peers (-want +got):\n%s", diff)
	}
}

// TestDigest checks that the secrets of an answer are overwritten.
func TestDigest(t *testing.T) {
	d := fakeKernel().devices["wg0"]
	digest(d)
	if (d.PrivateKey != wgtypes.Key{}) {
		t.Error("the private key is still there")
	}
	for _, p := range d.Peers {
		if (p.PresharedKey != wgtypes.Key{}) {
			t.Errorf("the preshared key of %s is still there", p.PublicKey)
		}
	}
}

// TestLateness ties the factors to those that recommendations are made with.
func TestLateness(t *testing.T) {
	for kind, want := range map[Kind]float64{
		Kernel: analysis.LatenessKernel, Userspace: analysis.LatenessExact, "": analysis.LatenessKernel,
	} {
		if got := kind.Lateness(); got != want {
			t.Errorf("Kind(%q).Lateness() = %v, want %v", kind, got, want)
		}
	}
	types := map[wgtypes.DeviceType]Kind{
		wgtypes.LinuxKernel: Kernel, wgtypes.FreeBSDKernel: Kernel, wgtypes.WindowsKernel: Kernel,
		wgtypes.Userspace: Userspace, wgtypes.Unknown: Kernel,
	}
	for of, want := range types {
		if got := kindOf(of); got != want {
			t.Errorf("kindOf(%v) = %q, want %q", of, got, want)
		}
	}
}

// TestOpenErrors checks what is said of what is in the way.
func TestOpenErrors(t *testing.T) {
	const secret = "c2VjcmV0"
	loopback := func() string {
		links, err := net.Interfaces()
		if err != nil || len(links) == 0 {
			t.Fatalf("no interface at all: %v", err)
		}
		return links[0].Name
	}()
	tests := []struct {
		name   string
		open   string
		change func(*fakeControl)
		is     error
		says   string
	}{
		{"unknown", "wg1", nil, ErrNoInterface, "wg1; there are wg0"},
		{"empty name", "", nil, ErrNoInterface, "there are wg0"},
		{"none at all", "wg1", func(f *fakeControl) { f.devices = nil }, ErrNoInterface, "wg-quick up wg1"},
		{"another kind", loopback, nil, ErrNoInterface, "interface of another kind; those of WireGuard are wg0"},
		{"another kind, none at all", loopback, func(f *fakeControl) { f.devices = nil }, ErrNoInterface, "none of WireGuard now"},
		{
			"not to be listed", "wg1",
			func(f *fakeControl) { f.failGet, f.failAll, f.spare = syscall.EPERM, syscall.EPERM, "wg1" },
			ErrNoInterface, "wg1; which there are can't be told",
		},
		{"too long for the kernel", "wg0", func(f *fakeControl) { f.failGet = syscall.ERANGE }, ErrNoInterface, "wg0; there are wg0"},
		{"kernel's no", "wg0", func(f *fakeControl) { f.failGet = syscall.EPERM }, fs.ErrPermission, "sudo"},
		{
			"socket's no", "wg0",
			func(f *fakeControl) {
				f.failGet = &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
			},
			fs.ErrPermission, "sudo",
		},
		{
			"left socket", "wg0",
			func(f *fakeControl) {
				f.failGet = &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
			},
			ErrNoInterface, "left its socket behind",
		},
		{"ended while asked", "wg0", func(f *fakeControl) { f.failGet = io.EOF }, ErrNoAnswer, "ended while it was asked"},
		{"system's own", "wg0", func(f *fakeControl) { f.failGet = syscall.ENOMEM }, syscall.ENOMEM, "wg0: "},
		{
			"answer with a key in it", "wg0",
			func(f *fakeControl) { f.failGet = fmt.Errorf("invalid key=value pair: %q", "private_key=="+secret) },
			nil, "not understood",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fakeKernel()
			if tt.change != nil {
				tt.change(f)
			}
			_, err := open(f, tt.open)
			if err == nil {
				t.Fatal("no error")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error is not %v: %v", tt.is, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error doesn't say %q: %v", tt.says, err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("error shows a key: %v", err)
			}
		})
	}
}

// TestNames checks that one socket that nobody listens to doesn't hide the other
// interfaces.
func TestNames(t *testing.T) {
	f := fakeKernel()
	f.devices["wg1"] = &wgtypes.Device{Name: "wg1"}
	refused := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	want := []string{"wg0", "wg1"}

	got, err := names(f)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("names (-want +got), error %v:\n%s", err, diff)
	}
	got, err = namesOneByOne(f, []string{"wg1", "lo", "wg0"})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("namesOneByOne (-want +got), error %v:\n%s", err, diff)
	}
	f.failAll, f.failGet = refused, refused
	if got, err := names(f); len(got) != 0 || err != nil {
		t.Errorf("names of one that was left = %q, %v, want none", got, err)
	}
	f.failGet = syscall.EPERM
	if got, err := namesOneByOne(f, []string{"lo"}); len(got) != 0 || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("names without permission = %q, %v, want a permission error", got, err)
	}
}

// TestPatience checks that a program which doesn't answer is given up, and that
// one question at a time waits for it.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeKernel()
		i := openFake(t, f, "wg0")
		f.mu.Lock()
		f.asked = 0
		f.mu.Unlock()
		f.stuck = make(chan struct{})
		for range 3 {
			began := time.Now()
			if _, err := i.Peers(); !errors.Is(err, ErrNoAnswer) {
				t.Errorf("Peers = %v, want ErrNoAnswer", err)
			}
			if waited := time.Since(began); waited != patience {
				t.Errorf("gave up after %v, want %v", waited, patience)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := i.SetKeepalive(ctx, alice, 30); !errors.Is(err, context.Canceled) {
			t.Errorf("SetKeepalive = %v, want context.Canceled", err)
		}
		close(f.stuck)
		synctest.Wait()
		if f.asked != 1 {
			t.Errorf("%d questions reached the program, want the first one only", f.asked)
		}
		if _, err := i.Peers(); err != nil {
			t.Errorf("Peers, now that it answers: %v", err)
		}
	})
}
