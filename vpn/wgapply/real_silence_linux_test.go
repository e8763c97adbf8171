package wgapply

import (
	"testing"
	"time"
)

// TestRealSilence watches tunnels of Debian's wireguard-go: where the peer is
// faster, where only we send, and where we become the faster one.
func TestRealSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, TestRealSilence TAKES 45 s: it waits for keepalives")
	}
	t.Parallel()
	const (
		own, peer = 4, 3
		// longEnough is when a warning must have come: it needs 25 s to settle and
		// three keepalives, and the first handshake may have to be repeated.
		longEnough = 45 * time.Second
	)
	// watch returns the last verdict, before it is too late or when enough says so.
	watch := func(t *testing.T, i *Interface, of *node, enough func(Verdict) bool) Verdict {
		t.Helper()
		var s Silence
		var v Verdict
		poll := time.NewTicker(200 * time.Millisecond)
		defer poll.Stop()
		for deadline := time.Now().Add(longEnough); time.Now().Before(deadline); <-poll.C {
			if v = s.Add(time.Now(), peerOf(t, i, of.public())); enough(v) {
				break
			}
		}
		return v
	}
	silenced := func(v Verdict) bool { return v.Silenced }

	t.Run("both", func(t *testing.T) {
		t.Parallel()
		a, b := tunnel(t, own, peer)
		i := a.open(t, b)
		v := watch(t, i, b, silenced)
		if !v.Silenced {
			t.Fatalf("no warning: %+v", v)
		}
		if off := (v.Theirs - peer*time.Second).Abs(); off > 500*time.Millisecond {
			t.Errorf("the peer's interval is %v, want %d s", v.Theirs, peer)
		}
		before := peerOf(t, i, b.public())
		if err := i.SetKeepalive(t.Context(), b.public(), 1); err != nil {
			t.Fatal(err)
		}
		eventually(t, "keepalives of ours, now that we are faster", func() bool {
			return peerOf(t, i, b.public()).SentBytes >= before.SentBytes+4*keepaliveBytes
		})
	})
	t.Run("only ours", func(t *testing.T) {
		t.Parallel()
		a, b := tunnel(t, own, 0)
		i := a.open(t, b)
		began := peerOf(t, i, b.public()).SentBytes
		if v := watch(t, i, b, silenced); v.Silenced {
			t.Errorf("a warning: %+v", v)
		}
		if sent := peerOf(t, i, b.public()).SentBytes - began; sent < 9*keepaliveBytes {
			t.Errorf("%d bytes sent, want those of a keepalive each %d s", sent, own)
		}
	})
}
