package reflector

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// patience bounds waits for packets on loopback. Only a failing test takes it.
const patience = 10 * time.Second

// listening serves a real socket until the test ends, and returns its port.
func listening(t *testing.T, r *Reflector, address string) uint16 {
	t.Helper()
	conn, err := Listen(t.Context(), address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skipf("this machine can't listen on %s: %v", address, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	untilEnd(t, func(ctx context.Context) error { return r.Serve(ctx, conn) }, conn)
	return addrPort(conn.LocalAddr()).Port()
}

// untilEnd serves sockets until the test ends, and closes them.
func untilEnd(t *testing.T, serve func(context.Context) error, sockets io.Closer) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := serve(ctx); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		serving.Wait()
		if err := sockets.Close(); err != nil {
			t.Error(err)
		}
	})
}

// dial returns a connected socket: its kernel drops what comes from any address
// but the one it sends to, as a NAT does.
func dial(t *testing.T, addr string, port uint16) *net.UDPConn {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange sends a request and returns the next packet.
func exchange(t *testing.T, conn net.Conn, request []byte) wire.Reply {
	t.Helper()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	return receive(t, conn)
}

func receive(t *testing.T, conn net.Conn) wire.Reply {
	t.Helper()
	b := make([]byte, 2048)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatalf("no packet from %v: %v", conn.RemoteAddr(), err)
	}
	return parse(t, b[:n])
}

// TestLoopback has real sockets, from hello to burst, for each way to listen.
// On a wildcard socket the answers must come from the address contacted.
func TestLoopback(t *testing.T) {
	tests := []struct {
		listen, contact string
		wildcard        bool
	}{
		{"127.0.0.1:0", "127.0.0.1", false},
		{"[::1]:0", "::1", false},
		{"0.0.0.0:0", "127.0.0.1", true},
		{"0.0.0.0:0", "127.0.0.2", true},
		{"[::]:0", "::1", true},
		{"[::]:0", "127.0.0.2", true},
		{":0", "127.0.0.3", true},
	}
	for _, tt := range tests {
		t.Run(tt.listen+" at "+tt.contact, func(t *testing.T) {
			if tt.wildcard && runtime.GOOS != "linux" {
				t.Skip("wildcard sockets need Linux")
			}
			if strings.Contains(tt.contact, ":") {
				if probe, err := net.ListenPacket("udp", "[::1]:0"); err != nil {
					t.Skipf("this machine has no IPv6: %v", err)
				} else {
					probe.Close()
				}
			}
			r, err := New(Config{})
			if err != nil {
				t.Fatal(err)
			}
			port := listening(t, r, tt.listen)
			control, flow := dial(t, tt.contact, port), dial(t, tt.contact, port)
			mapped := addrPort(control.LocalAddr())

			plain, ok := exchange(t, control, wire.Binding{ID: wire.NewID()}.Encode()).(wire.BindingReply)
			if !ok || plain.Mapped != mapped {
				t.Errorf("plain STUN says %v, want %v", plain.Mapped, mapped)
			}
			if at := netip.AddrPortFrom(netip.MustParseAddr(tt.contact), port); plain.Origin != at {
				t.Errorf("RESPONSE-ORIGIN %v, want %v, which was contacted", plain.Origin, at)
			}
			hello, ok := exchange(t, control, wire.Hello{ID: wire.NewID()}.Encode()).(wire.HelloReply)
			if !ok || hello.Mapped != mapped {
				t.Fatalf("hello answered with %+v, want %v", hello, mapped)
			}
			session := wire.NewSessionID()
			q := wire.Query{ID: wire.NewID(), Session: session, Token: hello.Token, Seq: 1}
			if got, ok := exchange(t, control, q.Encode()).(wire.QueryReply); !ok || got.Received != 1 {
				t.Fatalf("query answered with %+v", got)
			}
			o := wire.Order{
				ID: wire.NewID(), Session: session, Tokens: []wire.Token{hello.Token},
				Delay: 5 * time.Millisecond, Copies: 1, Size: wire.OrderSize(1, true, mapped.Addr().Is6()),
			}
			burst, ok := exchange(t, flow, o.Encode()).(wire.Burst)
			if !ok || burst.ID != o.ID || burst.Gap < o.Delay {
				t.Errorf("order %v answered with %+v, want a burst after %v", o.ID, burst, o.Delay)
			}
			beacon, ok := receive(t, control).(wire.Beacon)
			if !ok || beacon.Copy != burst.Copy {
				t.Errorf("beacon = %+v, want %+v", beacon, burst)
			}
		})
	}
}

func TestListenErrors(t *testing.T) {
	for _, address := range []string{"", "3478", "localhost:3478", "192.0.2.1", "[::1]", "127.0.0.1:70000"} {
		conn, err := Listen(t.Context(), address)
		if err == nil {
			conn.Close()
			t.Errorf("Listen(%q) worked", address)
			continue
		}
		if !strings.Contains(err.Error(), "want IP:PORT") {
			t.Errorf("Listen(%q) = %v, want to be told the form of an address", address, err)
		}
	}
	first, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Listen(t.Context(), first.LocalAddr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen on a port in use = %v, want EADDRINUSE", err)
	}
}

// TestWildcardElsewhere: an address that the socket didn't name still works.
func TestWildcardElsewhere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("wildcard sockets need Linux")
	}
	conn, err := Listen(t.Context(), "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := conn.WriteTo([]byte("unasked"), peer.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := peer.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	if n, _, err := peer.ReadFrom(b); err != nil || string(b[:n]) != "unasked" {
		t.Errorf("read %q, %v", b[:n], err)
	}
}
