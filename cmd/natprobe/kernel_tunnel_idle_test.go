package main_test

import (
	"testing"
	"time"
)

// Sizes of WireGuard's messages in bytes, without IP and UDP headers.
const (
	sizeInitiation = 148
	sizeResponse   = 92
	sizeKeepalive  = 32
)

// messages finds out how many keepalives are in a sum of bytes, and how many
// initiations. Responses are looked for only where it doesn't come out even
// without: the other side, which has no keepalive, makes hardly any handshake.
func messages(bytes int) (keepalives, initiations, responses int, ok bool) {
	for responses = range 3 {
		for initiations = range 5 {
			if rest := bytes - initiations*sizeInitiation - responses*sizeResponse; rest >= 0 && rest%sizeKeepalive == 0 {
				return rest / sizeKeepalive, initiations, responses, true
			}
		}
	}
	return 0, 0, 0, false
}

// TestKernelTunnelIdle counts what an idle tunnel sends: a keepalive each
// interval, and a handshake after REKEY-AFTER-TIME. At the round-trip times of a
// lab wireguard-go now and then makes a handshake that nothing asks for, some 5 s
// after another: the response came before the timer for it was set. Those are
// tolerated.
func TestKernelTunnelIdle(t *testing.T) {
	needTunnels(t)
	_, server, client, _ := tunnelPair(t, "PersistentKeepalive = 5")
	client.await("the first handshake", func(s status) bool { return len(s.Peers) == 1 && s.Peers[0].Received > 0 })
	<-time.After(2 * time.Second) // what a handshake brings with it is over
	first, ok := server.status()
	if !ok {
		t.Fatal("the server has no status")
	}
	const interval, length = 5 * time.Second, 130 * time.Second
	begun := time.Now()
	<-time.After(length) // it is idle
	last, ok := server.status()
	if !ok {
		t.Fatal("the server has no status")
	}
	passed := time.Since(begun)
	came := int(last.Peers[0].Received - first.Peers[0].Received)
	keepalives, initiations, responses, ok := messages(came)
	t.Logf("%d bytes in %.0f s: %d keepalives, %d initiations, %d responses", came, passed.Seconds(), keepalives, initiations, responses)
	// After each handshake the initiator confirms it with a keepalive more.
	want := int(passed / interval)
	if !ok || keepalives < want-1 || keepalives > want+1+initiations+responses {
		t.Errorf("%d keepalives in %v, want %d and one for each handshake", keepalives, passed, want)
	}
	if initiations < 1 || initiations+responses > 4 {
		t.Errorf("%d initiations and %d responses in %v, want a handshake", initiations, responses, passed)
	}
	if sent := last.Peers[0].Sent - first.Peers[0].Sent; sent > 4*(sizeInitiation+sizeResponse) {
		t.Errorf("the server sent %d bytes: it has no keepalive, and nothing but handshakes to answer", sent)
	}
}
