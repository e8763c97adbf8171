package reflector

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// open returns a socket of Listen and its transport.
func open(t *testing.T, address string) (net.PacketConn, *batchConn) {
	t.Helper()
	conn, err := Listen(t.Context(), address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skipf("this machine can't listen on %s: %v", address, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, ok := newTransport(conn).(*batchConn)
	if !ok {
		t.Fatalf("%s is moved by a %T", address, newTransport(conn))
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn, c
}

// TestBatch sends more packets than a batch holds there and back, for each kind
// of socket.
func TestBatch(t *testing.T) {
	const packets = 3*batchSize + 1
	for _, tt := range []struct{ listen, contact string }{
		{"127.0.0.1:0", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.3"}, {"[::]:0", "127.0.0.3"}, {"[::1]:0", "::1"}, {"[::]:0", "::1"},
	} {
		t.Run(tt.listen+" at "+tt.contact, func(t *testing.T) {
			conn, c := open(t, tt.listen)
			client := dial(t, tt.contact, addrPort(conn.LocalAddr()).Port())
			mine := addrPort(client.LocalAddr())
			local := netip.Addr{}
			if _, ok := conn.(*wildcard); ok {
				local = netip.MustParseAddr(tt.contact)
			}
			for i := range packets {
				if _, err := fmt.Fprint(client, "packet ", i); err != nil {
					t.Fatal(err)
				}
			}
			var got []packet
			for len(got) < packets {
				batch, err := c.receive()
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range batch {
					p.data = bytes.Clone(p.data)
					got = append(got, p)
				}
			}
			for i, p := range got {
				if p.peer != mine || p.local != local || p.addr != nil || p.cut != 0 || string(p.data) != fmt.Sprint("packet ", i) {
					t.Fatalf("packet %d is %+v, want one from %v to %v", i, p, mine, local)
				}
			}
			c.send(got)
			b := make([]byte, 100)
			for i := range got {
				n, err := client.Read(b)
				if err != nil || string(b[:n]) != fmt.Sprint("packet ", i) || got[i].failed {
					t.Fatalf("packet %d came back as %q, %v, failed %v", i, b[:n], err, got[i].failed)
				}
			}
		})
	}
}

// TestBatchFailures: what can't be sent doesn't keep back the others.
func TestBatchFailures(t *testing.T) {
	conn, c := open(t, "127.0.0.1:0")
	client := dial(t, "127.0.0.1", addrPort(conn.LocalAddr()).Port())
	good := way{peer: addrPort(client.LocalAddr())}
	bad := way{peer: netip.AddrPortFrom(good.peer.Addr(), 0)}
	var packets []packet
	for i := range byte(10) {
		p := packet{way: good, data: []byte{i}}
		if i%3 == 0 {
			p.way = bad
		}
		packets = append(packets, p)
	}
	c.send(packets)
	b := make([]byte, 10)
	for i, p := range packets {
		if p.failed != (i%3 == 0) {
			t.Errorf("packet %d failed: %v", i, p.failed)
		}
		if p.failed {
			continue
		}
		if n, err := client.Read(b); err != nil || !bytes.Equal(b[:n], []byte{byte(i)}) {
			t.Errorf("got % x, %v, want packet %d", b[:n], err, i)
		}
	}
	conn.Close()
	c.send(packets)
	for i, p := range packets {
		if !p.failed {
			t.Errorf("packet %d left through a closed socket", i)
		}
	}
	if _, err := c.receive(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("receiving from a closed socket: %v, want net.ErrClosed", err)
	}
}

// TestBatchCut: a datagram that is longer than any with an answer is known as
// such, and the next one is whole.
func TestBatchCut(t *testing.T) {
	conn, c := open(t, "127.0.0.1:0")
	client := dial(t, "127.0.0.1", addrPort(conn.LocalAddr()).Port())
	for _, size := range []int{batchBuffer + 1, batchBuffer, 60000, 0, 1} {
		if _, err := client.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		batch, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) != 1 || len(batch[0].data) != min(size, batchBuffer) || batch[0].cut != max(size-batchBuffer, 0) {
			t.Errorf("%d bytes came as %d packets, the first of %d bytes, and %d cut off", size, len(batch), len(batch[0].data), batch[0].cut)
		}
	}
}

// TestBatchDeadline: a deadline lets the reader go, and no longer.
func TestBatchDeadline(t *testing.T) {
	conn, c := open(t, "127.0.0.1:0")
	if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v, want os.ErrDeadlineExceeded", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	client := dial(t, "127.0.0.1", addrPort(conn.LocalAddr()).Port())
	if _, err := client.Write([]byte("later")); err != nil {
		t.Fatal(err)
	}
	if batch, err := c.receive(); err != nil || len(batch) != 1 || string(batch[0].data) != "later" {
		t.Errorf("got %v, %v", batch, err)
	}
}

// TestBatchAllocates: receiving, answering and sending a plain request costs no
// memory.
func TestBatchAllocates(t *testing.T) {
	conn, c := open(t, "0.0.0.0:0")
	client := dial(t, "127.0.0.1", addrPort(conn.LocalAddr()).Port())
	r, err := New(Config{Limits: Limits{PPS: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	p := newPort(conn)
	request, buffer := wire.Binding{ID: wire.NewID()}.Encode(), make([]byte, 1000)
	var a answers
	got := testing.AllocsPerRun(100, func() {
		for range 3 {
			if _, err := client.Write(request); err != nil {
				t.Fatal(err)
			}
		}
		for n := 0; n < 3; {
			batch, err := c.receive()
			if err != nil {
				t.Fatal(err)
			}
			n += len(batch)
			r.handle(time.Now(), p, batch, &a)
		}
		for range 3 {
			if _, err := client.Read(buffer); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for three requests, want none", got)
	}
}

// TestListenShared: several sockets have one port, which others don't get, and
// each answers.
func TestListenShared(t *testing.T) {
	conns, err := ListenShared(t.Context(), "127.0.0.1:0", 4)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	if len(conns) != 4 {
		t.Fatalf("%d sockets, want 4", len(conns))
	}
	at := addrPort(conns[0].LocalAddr())
	for _, conn := range conns {
		if addrPort(conn.LocalAddr()) != at {
			t.Errorf("one is at %v, another at %v", at, conn.LocalAddr())
		}
	}
	if again, err := ListenShared(t.Context(), at.String(), 4); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the port could be had again: %v, %v", again, err)
	}
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = r.ServeShared(t.Context(), conns) }) // ends with the test's context
	for range 32 {                                               // from ports that the system spreads
		client := dial(t, "127.0.0.1", at.Port())
		if got, ok := exchange(t, client, wire.Binding{ID: wire.NewID()}.Encode()).(wire.BindingReply); !ok || got.Mapped != addrPort(client.LocalAddr()) {
			t.Errorf("answered with %+v", got)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	serving.Wait()
}
