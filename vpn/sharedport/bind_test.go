package sharedport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// stun returns a STUN message: a Binding request with a number in its id.
func stun(number byte) []byte {
	b := make([]byte, stunHeader)
	b[1] = 1
	copy(b[4:], magicCookie)
	b[19] = number
	return b
}

// wireGuard returns a packet with the type of one of WireGuard's messages.
func wireGuard(kind uint32, size int) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, kind)
	return b
}

func TestIsSTUN(t *testing.T) {
	unlucky := wireGuard(4, 32)
	copy(unlucky[4:], magicCookie) // a receiver index may be any four bytes
	for _, test := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"binding request", stun(0), true},
		{"binding answer", append([]byte{1, 1}, stun(0)[2:]...), true},
		{"empty", nil, false},
		{"header cut off", stun(0)[:19], false},
		{"RFC 3489", make([]byte, 28), false},
		{"initiation", wireGuard(1, 148), false},
		{"response", wireGuard(2, 92), false},
		{"cookie", wireGuard(3, 64), false},
		{"keepalive", wireGuard(4, 32), false},
		{"data with a receiver that is the magic cookie", unlucky, false},
		{"RTP", append([]byte{0x80}, stun(0)[1:]...), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := isSTUN(test.packet); got != test.want {
				t.Errorf("isSTUN is %v, want %v", got, test.want)
			}
		})
	}
}

// loopback opens a shared port on the system's sockets and returns what reaches
// WireGuard from it, and a client of it.
func loopback(t *testing.T) (b *Bind, toWireGuard <-chan []byte, client *net.UDPConn) {
	t.Helper()
	b = New(conn.NewStdNetBind())
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1000)
	ended := make(chan struct{})
	for _, fn := range fns {
		go func() {
			defer func() { ended <- struct{}{} }()
			receiveAll(fn, b.BatchSize(), got)
		}()
	}
	client, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		for range fns {
			<-ended
		}
	})
	return b, got, client
}

// receiveAll does what a device does: it looks at what has a size.
func receiveAll(fn conn.ReceiveFunc, batch int, got chan<- []byte) {
	packets, sizes, eps := make([][]byte, batch), make([]int, batch), make([]conn.Endpoint, batch)
	for i := range packets {
		packets[i] = make([]byte, 65535)
	}
	for {
		n, err := fn(packets, sizes, eps)
		if err != nil {
			return
		}
		for i := range n {
			if sizes[i] > 0 {
				got <- bytes.Clone(packets[i][:sizes[i]])
			}
		}
	}
}

// TestBothSides mixes STUN and WireGuard on one flow: each side gets its own,
// whole and in order, and answers leave from the port that was contacted.
func TestBothSides(t *testing.T) {
	b, toWireGuard, client := loopback(t)
	const rounds = 50
	for i := range byte(rounds) {
		for _, packet := range [][]byte{stun(i), wireGuard(4, 32+16*int(i))} {
			if _, err := client.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
	}
	buffer := make([]byte, 2048)
	for i := range byte(rounds) {
		n, from, err := b.PacketConn().ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buffer[:n], stun(i)) {
			t.Fatalf("STUN message %d is % x", i, buffer[:n])
		}
		if got, want := from.(interface{ AddrPort() netip.AddrPort }).AddrPort(), client.LocalAddr().(*net.UDPAddr).AddrPort(); got != want {
			t.Fatalf("it came from %v, want %v", got, want)
		}
		if _, err := b.PacketConn().WriteTo(buffer[:n], from); err != nil {
			t.Fatal(err)
		}
		if got := <-toWireGuard; !bytes.Equal(got, wireGuard(4, 32+16*int(i))) {
			t.Fatalf("WireGuard's packet %d is % x", i, got)
		}
	}
	if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for i := range byte(rounds) { // the client's socket is connected: it takes answers from the port only
		n, err := client.Read(buffer)
		if err != nil || !bytes.Equal(buffer[:n], stun(i)) {
			t.Fatalf("answer %d: % x, %v", i, buffer[:n], err)
		}
	}
	// To an address that isn't the bind's own.
	if _, err := b.PacketConn().WriteTo(stun(7), client.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(buffer); err != nil || !bytes.Equal(buffer[:n], stun(7)) {
		t.Errorf("to a plain address: % x, %v", buffer[:n], err)
	}
	if _, err := b.PacketConn().WriteTo(stun(7), &net.UnixAddr{Name: "nowhere"}); err == nil {
		t.Error("nothing was said of an address that is none")
	}
}

// TestReopen: WireGuard closes and opens its bind when port or mark change.
func TestReopen(t *testing.T) {
	b, _, _ := loopback(t)
	before := b.PacketConn().LocalAddr().(*net.UDPAddr).Port
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.PacketConn().SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.PacketConn().ReadFrom(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with the bind closed reading fails with %v, want the deadline only", err)
	}
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.PacketConn().LocalAddr().(*net.UDPAddr).Port; got != int(port) || got == before {
		t.Errorf("the port is %d, want %d", got, port)
	}
	got, ended := make(chan []byte, 10), make(chan struct{})
	for _, fn := range fns {
		go func() {
			receiveAll(fn, b.BatchSize(), got)
			ended <- struct{}{}
		}()
	}
	client, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write(stun(1)); err != nil {
		t.Fatal(err)
	}
	if err := b.PacketConn().SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.PacketConn().ReadFrom(make([]byte, 100)); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range fns {
		<-ended
	}
}

// still is a bind that receives one batch again and again, without a system
// below it.
type still struct {
	conn.Bind
	batch [][]byte
	from  conn.Endpoint
}

func (s *still) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	return []conn.ReceiveFunc{func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		for i, packet := range s.batch {
			sizes[i], eps[i] = copy(packets[i], packet), s.from
		}
		return len(s.batch), nil
	}}, 7, nil
}

func newStill(batch ...[]byte) *still {
	return &still{batch: batch, from: &conn.StdNetEndpoint{AddrPort: netip.MustParseAddrPort("192.0.2.1:1234")}}
}

func open(t testing.TB, inner conn.Bind) (*Bind, func() []int) {
	t.Helper()
	b := New(inner)
	fns, _, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	packets, sizes, eps := make([][]byte, 128), make([]int, 128), make([]conn.Endpoint, 128)
	for i := range packets {
		packets[i] = make([]byte, 2048)
	}
	return b, func() []int {
		n, err := fns[0](packets, sizes, eps)
		if err != nil {
			t.Fatal(err)
		}
		return sizes[:n]
	}
}

// TestNobodyReads: WireGuard goes on while STUN piles up, and memory doesn't.
func TestNobodyReads(t *testing.T) {
	b, receive := open(t, newStill(stun(1), wireGuard(4, 100), stun(2), wireGuard(1, 148)))
	const rounds = 1000
	for range rounds {
		if got := receive(); !slices.Equal(got, []int{0, 100, 0, 148}) {
			t.Fatalf("WireGuard got sizes %v", got)
		}
	}
	if got, want := b.PacketConn().Dropped(), uint64(2*rounds-queueSize); got != want {
		t.Errorf("%d were dropped, want %d", got, want)
	}
	if err := b.PacketConn().Close(); err != nil {
		t.Fatal(err)
	}
	receive()
	if _, _, err := b.PacketConn().ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close reading fails with %v", err)
	}
	if _, err := b.PacketConn().WriteTo(nil, Addr{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close writing fails with %v", err)
	}
}

// TestDeadline moves the deadline while somebody waits.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, receive := open(t, newStill(stun(1)))
		c := b.PacketConn()
		read := func() chan error {
			ended := make(chan error, 1)
			go func() {
				_, _, err := c.ReadFrom(make([]byte, 100))
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		begun := time.Now()
		_ = c.SetReadDeadline(begun.Add(time.Hour))
		waiting := read()
		_ = c.SetReadDeadline(begun.Add(time.Minute))
		if err := <-waiting; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the read ended with %v", err)
		}
		if got := time.Since(begun); got != time.Minute {
			t.Errorf("the read ended after %v, want a minute", got)
		}
		_ = c.SetDeadline(begun) // in the past
		if err := <-read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline a read ended with %v", err)
		}
		_ = c.SetDeadline(time.Time{})
		waiting = read()
		time.Sleep(2 * time.Hour) // past the first deadline, which was replaced
		receive()
		if err := <-waiting; err != nil {
			t.Errorf("without a deadline the read ended with %v", err)
		}
	})
}

// BenchmarkSorted is what a full batch of WireGuard's packets pays.
func BenchmarkSorted(b *testing.B) {
	batch := make([][]byte, 128)
	for i := range batch {
		batch[i] = wireGuard(4, 1452)
	}
	for name, inner := range map[string]conn.Bind{"shared": New(newStill(batch...)), "plain": newStill(batch...)} {
		b.Run(name, func(b *testing.B) {
			fns, _, err := inner.Open(0)
			if err != nil {
				b.Fatal(err)
			}
			packets, sizes, eps := make([][]byte, 128), make([]int, 128), make([]conn.Endpoint, 128)
			for i := range packets {
				packets[i] = make([]byte, 2048)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = fns[0](packets, sizes, eps)
			}
		})
	}
}
