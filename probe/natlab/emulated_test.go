package natlab

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestEmulatedFaults(t *testing.T) {
	t.Run("loss", func(t *testing.T) {
		const packets = 2000
		m := startModel(t, Spec{NATs: []NATSpec{{}}})
		client := m.client()
		external := m.out(client, m.server)
		if err := m.SetLoss(0.1, 0.3); err != nil {
			t.Fatal(err)
		}
		for _, way := range []struct {
			name     string
			loss     float64
			from, to net.PacketConn
			address  net.Addr
		}{{"outbound", 0.1, client, m.server, m.server.LocalAddr()}, {"inbound", 0.3, m.server, client, external}} {
			arrived := 0
			for range packets {
				if _, err := way.from.WriteTo([]byte("payload"), way.address); err != nil {
					t.Fatal(err)
				}
				if _, ok := m.read(way.to, 2*time.Millisecond); ok {
					arrived++
				}
			}
			for { // late ones
				if _, ok := m.read(way.to, emuSilence); !ok {
					break
				}
				arrived++
			}
			want := way.loss * packets
			if spread := 5 * math.Sqrt(want*(1-way.loss)); math.Abs(float64(packets-arrived)-want) > spread {
				t.Errorf("%s: %d of %d lost, want %.0f ± %.0f", way.name, packets-arrived, packets, want, spread)
			}
		}
	})
	t.Run("flush", func(t *testing.T) {
		m := startModel(t, Spec{NATs: []NATSpec{{}, {DNS: 5 * time.Second}}})
		dns := m.listenServer(dnsPort)
		client := m.client()
		for _, server := range []net.PacketConn{m.server, dns} {
			external := m.out(client, server)
			if !m.in(server, external, client) {
				t.Error("the mapping doesn't work")
			}
			if err := m.FlushConntrack(1); err != nil {
				t.Fatal(err)
			}
			if m.in(server, external, client) {
				t.Error("the mapping outlived a flush")
			}
		}
	})
	t.Run("link", func(t *testing.T) {
		m := startModel(t, Spec{NATs: []NATSpec{{}}})
		client := m.client()
		external := m.out(client, m.server)
		if err := m.SetLink(false); err != nil {
			t.Fatal(err)
		}
		if _, err := client.WriteTo([]byte("payload"), m.server.LocalAddr()); err == nil {
			t.Error("sending over a link that is off gave no error")
		}
		if _, err := m.server.WriteTo([]byte("payload"), external); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.read(client, emuSilence); ok {
			t.Error("a packet came over a link that is off")
		}
		if err := m.SetLink(true); err != nil {
			t.Fatal(err)
		}
		if !m.in(m.server, external, client) {
			t.Error("the mapping was lost with the link")
		}
	})
	t.Run("unsupported", func(t *testing.T) {
		m := startModel(t, Spec{NATs: []NATSpec{{}}})
		for name, err := range map[string]error{
			"SetTimers":   m.SetTimers(0, time.Second, time.Second),
			"StartClient": m.StartClient(exec.CommandContext(t.Context(), "none")),
			"StartServer": m.StartServer(exec.CommandContext(t.Context(), "none")),
		} {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: %v, want %v", name, err, errors.ErrUnsupported)
			}
		}
		if err := m.Move(0); err != nil || m.Move(1) == nil {
			t.Errorf("Move(0): %v; Move(1) must fail", err)
		}
	})
}

// TestEmulatedSockets checks that sockets behave as the system's do.
func TestEmulatedSockets(t *testing.T) {
	m := startModel(t, Spec{NATs: []NATSpec{{}}})
	ctx := t.Context()
	conn, err := m.ClientListen(ctx, "udp4", "0.0.0.0:40001")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := conn.LocalAddr().String(), netip.AddrPortFrom(m.ClientAddr(), 40001).String(); got != want {
		t.Errorf("LocalAddr = %v, want %v", got, want)
	}
	for _, bad := range []struct{ network, address string }{
		{"udp4", conn.LocalAddr().String()},                      // taken
		{"udp4", netip.AddrPortFrom(m.ServerAddr(), 0).String()}, // somebody else's
		{"udp6", ":0"}, {"tcp", ":0"}, {"udp", "nowhere:1"}, {"udp", "1.2"}, // what isn't there
		{"udp", ":65536"},
	} {
		var failed *net.OpError
		if c, err := m.ClientListen(ctx, bad.network, bad.address); !errors.As(err, &failed) {
			t.Errorf("ClientListen(%v) = %v, %v, want a net.OpError", bad, c, err)
		}
	}
	external := m.out(conn, m.server)
	if _, err := m.server.WriteTo([]byte("long"), external); err != nil {
		t.Fatal(err)
	}
	var short [2]byte
	if n, _, err := conn.ReadFrom(short[:]); n != 2 || err != nil || string(short[:]) != "lo" {
		t.Errorf("ReadFrom into 2 bytes = %d, %q, %v", n, short[:n], err)
	}
	if _, err := conn.WriteTo(make([]byte, maxFrame), m.server.LocalAddr()); err == nil {
		t.Error("a packet longer than any was sent")
	}

	// A deadline, and then the end of the socket, let a reader go.
	read := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			_, _, err := conn.ReadFrom(short[:])
			done <- err
		}()
		return done
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	waiting := read()
	if err := conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a reader past its deadline: %v", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	waiting = read()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a reader of a closed socket: %v", err)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close again: %v", err)
	}
	again, err := m.ClientListen(ctx, "udp4", conn.LocalAddr().String())
	if err != nil {
		t.Fatalf("the port of a closed socket: %v", err)
	}
	m.out(again, m.server)

	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.WriteTo([]byte("x"), m.server.LocalAddr()); err == nil {
		t.Error("a socket of a closed lab still has a network")
	}
	if _, err := m.ClientListen(ctx, "udp", ":0"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ClientListen on a closed lab: %v", err)
	}
}

// TestEmulatedStranger checks that nobody else on this machine gets a packet
// into a lab.
func TestEmulatedStranger(t *testing.T) {
	m := startModel(t, Spec{})
	client := m.client()
	e := m.net.(*emulated)
	stranger, err := listenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	at := unmappedAddr(client.LocalAddr())
	for _, to := range []netip.AddrPort{m.server.(*serverSocket).real, udpAddr(e.link)} {
		if _, err := stranger.WriteToUDPAddrPort(frame(at, []byte("payload")), to); err != nil {
			t.Fatal(err)
		}
	}
	// What the lab's own sockets send comes first, though it was sent later.
	if !m.in(m.server, client.LocalAddr(), client) {
		t.Error("the lab itself doesn't work")
	}
	if _, ok := m.read(client, emuSilence); ok {
		t.Error("a stranger's packet came to the client")
	}
	if _, ok := m.read(m.server, emuSilence); ok {
		t.Error("a stranger's packet came to the server")
	}
}

func FuzzUnframe(f *testing.F) {
	f.Add(frame(netip.MustParseAddrPort("192.0.2.1:53"), []byte("x")))
	f.Add(frame(netip.MustParseAddrPort("[2001:db8::1]:65535"), nil))
	f.Add([]byte{4, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		outside, payload, ok := unframe(b)
		if ok && string(frame(outside, payload)) != string(b) {
			t.Errorf("unframe(%x) = %v %x, which frames as %x", b, outside, payload, frame(outside, payload))
		}
	})
}
