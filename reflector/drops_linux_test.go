package reflector

import (
	"net"
	"sync"
	"testing"

	"github.com/natprobe/natprobe/reflector/wire"
)

// TestFullBuffer: what comes while a socket's buffer is full is dropped by the
// system and counted, and the reflector goes on.
func TestFullBuffer(t *testing.T) {
	conn, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.UDPConn).SetReadBuffer(1); err != nil { // as little as the system has
		t.Fatal(err)
	}
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	client := dial(t, "127.0.0.1", addrPort(conn.LocalAddr()).Port())
	const flood = 1000
	for range flood { // nobody reads yet
		if _, err := client.Write(wire.Binding{ID: wire.NewID()}.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.Serve(t.Context(), conn) }) // ends with the socket
	last := wire.Check{ID: wire.NewID()}
	for answered := false; !answered; {
		if reply, ok := exchange(t, client, last.Encode()).(wire.CheckReply); ok {
			answered = reply.ID == last.ID
		}
	}
	before := r.Stats()
	if before.Received+before.Dropped < flood || before.Dropped < flood/2 {
		t.Errorf("%d datagrams came in and %d were dropped, of %d and few more", before.Received, before.Dropped, flood)
	}
	conn.Close()
	serving.Wait()
	if after := r.Stats(); after.Received < before.Received || after.Dropped < before.Dropped {
		t.Errorf("served no more, it has received %d and dropped %d, after %d and %d", after.Received, after.Dropped, before.Received, before.Dropped)
	}
}
