package simulate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

func TestListenPacket(t *testing.T) {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	tests := []struct {
		name             string
		ctx              context.Context
		network, address string
		want             error // nil: success
	}{
		{"any port", context.Background(), "udp", ":0", nil},
		{"unspecified", context.Background(), "udp4", "0.0.0.0:5000", nil},
		{"own address", context.Background(), "udp", "192.168.1.2:5001", nil},
		{"port in use", context.Background(), "udp", ":4000", syscall.EADDRINUSE},
		{"port in use by the wildcard", context.Background(), "udp", "192.168.1.2:4000", syscall.EADDRINUSE},
		{"foreign address", context.Background(), "udp", "192.168.1.3:0", syscall.EADDRNOTAVAIL},
		{"other IP version", context.Background(), "udp6", ":0", syscall.EAFNOSUPPORT},
		{"unknown network", context.Background(), "tcp", ":0", net.UnknownNetworkError("tcp")},
		{"context done", done, "udp", ":0", context.Canceled},
	}
	n := newNet(t, Config{})
	n.listen(n.Client(), ":4000")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := n.Client().ListenPacket(tt.ctx, tt.network, tt.address)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err == nil {
				c.Close()
			}
		})
	}
	for _, address := range []string{"", "5000", "host:1", ":http", ":65536", ":-1"} {
		if _, err := n.Client().ListenPacket(context.Background(), "udp", address); err == nil {
			t.Errorf("listening on %q succeeded", address)
		}
	}
}

func TestPortIsFreeAfterClose(t *testing.T) {
	n := newNet(t, Config{})
	for range 3 {
		c := n.listen(n.Client(), ":4000")
		if got := c.LocalAddr().String(); got != "192.168.1.2:4000" {
			t.Errorf("LocalAddr = %s", got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v, want net.ErrClosed", err)
		}
	}
}

func TestEphemeralPortsDiffer(t *testing.T) {
	n := newNet(t, Config{})
	seen := make(map[uint16]bool)
	for range 400 {
		port := n.dial().local.Port()
		if seen[port] || port < ephemeralMin || port > ephemeralMax {
			t.Fatalf("port %d given out twice or out of range", port)
		}
		seen[port] = true
	}
}

func TestCloseUnblocksReaders(t *testing.T) {
	closers := map[string]func(testNet, *conn) error{
		"socket":  func(_ testNet, c *conn) error { return c.Close() },
		"network": func(n testNet, _ *conn) error { return n.Close() },
	}
	for name, closeIt := range closers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNet(t, Config{})
				c := n.dial()
				errs := make(chan error, 3)
				for range cap(errs) {
					go func() {
						_, _, err := c.ReadFrom(make([]byte, 1))
						errs <- err
					}()
				}
				synctest.Wait()
				if len(errs) != 0 {
					t.Fatalf("a read returned early: %v", <-errs)
				}
				if err := closeIt(n, c); err != nil {
					t.Error(err)
				}
				for range cap(errs) {
					if err := <-errs; !errors.Is(err, net.ErrClosed) {
						t.Errorf("read ended with %v, want net.ErrClosed", err)
					}
				}
				if _, err := c.WriteToUDPAddrPort(nil, serverEnd); !errors.Is(err, net.ErrClosed) {
					t.Errorf("write after close: %v, want net.ErrClosed", err)
				}
				if err := c.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
					t.Errorf("deadline after close: %v, want net.ErrClosed", err)
				}
			})
		})
	}
}

func TestClosedNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		client, server := n.dial(), n.server()
		n.Capture(func(time.Time, natmodel.Packet, bool) { t.Error("a packet moved after Close") })
		n.say(client, serverEnd, "under way")
		for range 2 {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		if _, err := n.Client().ListenPacket(context.Background(), "udp", ":0"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ListenPacket: %v, want net.ErrClosed", err)
		}
		n.Inject(natmodel.Packet{Src: serverEnd, Dst: serverEnd})
		if _, _, err := server.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v, want net.ErrClosed", err)
		}
	})
}

func TestReadDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		c := n.dial()
		read := func() (time.Duration, error) {
			start := time.Now()
			_, _, err := c.ReadFrom(make([]byte, 16))
			return time.Since(start), err
		}
		set := func(in time.Duration) {
			t.Helper()
			if err := c.SetReadDeadline(time.Now().Add(in)); err != nil {
				t.Fatal(err)
			}
		}
		timedOut := func(what string, want time.Duration) {
			t.Helper()
			got, err := read()
			var timeout net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%s: error %v, want a timeout", what, err)
			}
			if got != want {
				t.Errorf("%s: returned after %v, want %v", what, got, want)
			}
		}
		set(3 * time.Second)
		timedOut("set before the read", 3*time.Second)
		timedOut("deadline over", 0)

		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Second, func() { set(time.Second) })
		timedOut("set during the read", 3*time.Second)

		set(time.Hour)
		time.AfterFunc(time.Second, func() { set(-1) })
		timedOut("moved to the past", time.Second)

		set(time.Second)
		time.AfterFunc(500*time.Millisecond, func() { set(5 * time.Second) })
		timedOut("moved on", 5500*time.Millisecond)

		set(time.Second)
		server := n.server()
		n.say(server, c.local, "hi")
		if _, err := read(); err != nil {
			t.Errorf("datagram before the deadline: %v", err)
		}
	})
}

func TestWriteChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		c := n.dial()
		tests := []struct {
			name string
			size int
			to   string
			want error
		}{
			{"largest", maxPayload, "203.0.113.1:1", nil},
			{"empty", 0, "203.0.113.1:1", nil},
			{"mapped", 0, "[::ffff:203.0.113.1]:1", nil},
			{"too large", maxPayload + 1, "203.0.113.1:1", syscall.EMSGSIZE},
			{"port 0", 1, "203.0.113.1:0", syscall.EINVAL},
			{"other IP version", 1, "[2001:db8::1]:1", syscall.EAFNOSUPPORT},
		}
		for _, tt := range tests {
			to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(tt.to))
			if _, err := c.WriteTo(make([]byte, tt.size), to); !errors.Is(err, tt.want) {
				t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
			}
		}
		if _, err := c.WriteTo(nil, &net.TCPAddr{}); err == nil {
			t.Error("wrote to a TCP address")
		}
		for _, ttl := range []int{0, 256} {
			if err := c.SetTTL(ttl); err == nil {
				t.Errorf("SetTTL(%d) succeeded", ttl)
			}
		}
		if err := c.SetDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.WriteToUDPAddrPort(nil, serverEnd); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write after the deadline: %v", err)
		}
	})
}

func TestDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{Queue: 3})
		client, server := n.dial(), n.server()
		b := []byte("first")
		if _, err := client.WriteToUDPAddrPort(b, serverEnd); err != nil {
			t.Fatal(err)
		}
		copy(b, "XXXXX") // the network must have its own copy
		for _, text := range []string{"", "third", "too many"} {
			n.say(client, serverEnd, text)
		}
		time.Sleep(rtt)
		if s := n.Stats(); s.Delivered != 3 || s.Overflowed != 1 {
			t.Errorf("delivered %d and dropped %d, want 3 and 1", s.Delivered, s.Overflowed)
		}
		short := make([]byte, 3)
		for _, want := range []string{"fir", "", "thi"} {
			k, from, err := server.ReadFrom(short)
			if err != nil || string(short[:k]) != want || from.String() != client.LocalAddr().String() {
				t.Errorf("read %q from %v, %v, want %q from %v", short[:k], from, err, want, client.LocalAddr())
			}
		}
	})
}

func TestEachDatagramWakesAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{})
		client, server := n.dial(), n.server()
		got := make(chan int, 10)
		for range cap(got) {
			go func() {
				k, _, _ := server.ReadFrom(make([]byte, 16))
				got <- k
			}()
		}
		synctest.Wait()
		for range cap(got) {
			n.say(client, serverEnd, "x")
		}
		time.Sleep(rtt)
		synctest.Wait()
		if len(got) != cap(got) {
			t.Errorf("%d of %d readers got a datagram", len(got), cap(got))
		}
	})
}

// Two readers have found the queue empty and are about to wait when two
// datagrams come at once: there is one token for both.
func TestDatagramsBetweenPollAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newNet(t, Config{}).dial()
		_, first, _ := c.poll()
		_, second, _ := c.poll()
		for range 2 {
			if !c.put(datagram{payload: []byte("x")}, 2) {
				t.Fatal("queue full")
			}
		}
		done := false
		go func() {
			for _, wait := range []func(){first, second} {
				wait()
				if d, again, err := c.poll(); again != nil || err != nil || d.payload == nil {
					t.Errorf("a reader that was woken got %q, %v", d.payload, err)
				}
			}
			done = true
		}()
		synctest.Wait()
		if !done {
			t.Error("a reader waits although a datagram is there")
		}
		c.Close()
	})
}
