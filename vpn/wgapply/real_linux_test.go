package wgapply

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/vpn"
)

// TestRealChangesOnlyTheInterval compares what wg says of an interface of
// wireguard-go before and after.
func TestRealChangesOnlyTheInterval(t *testing.T) {
	t.Parallel()
	a, b := tunnel(t, 3600, 0)
	i := a.open(t, b)
	info, err := i.Info()
	if err != nil {
		t.Fatal(err)
	}
	want := Info{Name: a.name, Kind: Userspace, PublicKey: a.public(), ListenPort: 51820}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("Info (-want +got):\n%s", diff)
	}
	if got, want := peerOf(t, i, b.public()).Endpoint.String(), b.underlay+":51820"; got != want {
		t.Errorf("endpoint %s, want %s", got, want)
	}
	for _, seconds := range []uint16{52, 0, 65535, 1} {
		wantRows := a.dump(t)
		for _, row := range wantRows[1:] {
			if row[0] == b.public().String() {
				row[len(row)-1] = strconv.Itoa(int(seconds))
				if seconds == 0 {
					row[len(row)-1] = "off"
				}
			}
		}
		if err := i.SetKeepalive(t.Context(), b.public(), seconds); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantRows, a.dump(t)); diff != "" {
			t.Errorf("wg show dump after setting %d s (-want +got):\n%s", seconds, diff)
		}
	}
}

// TestRealCountsAtOnce checks that an interval counts from when it is set: of two
// intervals that end long after the test, the second sends a keepalive when it
// replaces the first.
func TestRealCountsAtOnce(t *testing.T) {
	t.Parallel()
	a, b := tunnel(t, 3600, 0)
	i := a.open(t, b)
	const tries = 4
	for try := range uint16(tries) {
		before := peerOf(t, i, b.public()).SentBytes
		if err := i.SetKeepalive(t.Context(), b.public(), 7200+try); err != nil {
			t.Fatal(err)
		}
		var sent uint64
		eventually(t, "packet sent after a change", func() bool {
			sent = peerOf(t, i, b.public()).SentBytes - before
			return sent > 0
		})
		if sent == keepaliveBytes {
			return
		}
		// wireguard-go makes handshakes of its own accord where the round-trip
		// time is near zero.
		t.Logf("%d bytes were sent; trying again", sent)
	}
	t.Errorf("no change of %d sent a keepalive of %d bytes", tries, keepaliveBytes)
}

// TestRealPeerThatIsGone checks that a peer which was removed stays so.
func TestRealPeerThatIsGone(t *testing.T) {
	t.Parallel()
	a, b := tunnel(t, 3600, 0)
	i := a.open(t, b)
	run(t, "wg", "set", a.name, "peer", b.public().String(), "remove")
	want := a.dump(t)
	if err := i.SetKeepalive(t.Context(), b.public(), 52); !errors.Is(err, ErrNoPeer) {
		t.Errorf("SetKeepalive = %v, want ErrNoPeer", err)
	}
	// As where it is removed just before the request.
	if err := i.configure(t.Context(), b.public(), 52); err != nil {
		t.Errorf("configure: %v", err)
	}
	if diff := cmp.Diff(want, a.dump(t)); diff != "" {
		t.Errorf("wg show dump (-want +got):\n%s", diff)
	}
}

// TestRealLeftSocket checks what is said of an interface whose program was
// killed, and that the others are still found.
func TestRealLeftSocket(t *testing.T) {
	t.Parallel()
	a, b := tunnel(t, 3600, 0)
	i := a.open(t, b)
	a.stop(t, syscall.SIGKILL)
	t.Cleanup(func() { a.stop(t, syscall.SIGTERM) })
	if _, err := i.Peers(); !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), a.name) {
		t.Errorf("Peers of what was killed = %v, want ErrNoInterface and the name %s", err, a.name)
	}
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(all, b.name) || slices.Contains(all, a.name) {
		t.Errorf("All = %q, want %s there and %s not", all, b.name, a.name)
	}
	if _, err := Open(a.name + "x"); !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), b.name) {
		t.Errorf("Open of what never was = %v, want ErrNoInterface and the name %s", err, b.name)
	}
	var none vpn.PublicKey
	if err := i.SetKeepalive(t.Context(), none, 1); !errors.Is(err, ErrNoInterface) {
		t.Errorf("SetKeepalive = %v, want ErrNoInterface", err)
	}
}
