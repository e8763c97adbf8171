package main_test

import (
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector/wire"
)

// TestKernelTunnelSilence sends to the port of a tunnel that helps its peers what
// strangers may send. Nothing comes back but to who knows the server's key.
func TestKernelTunnelSilence(t *testing.T) {
	needTunnels(t)
	for name, c := range map[string]struct {
		spec  natlab.Spec
		flags []string
	}{
		"IPv4":         {natlab.Spec{}, nil},
		"IPv6":         {natlab.Spec{Family: natlab.IPv6}, nil},
		"--no-reflect": {natlab.Spec{}, []string{"--no-reflect"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startKernelNet(t, c.spec)
			allowIPv6(t, n.Lab)
			e := newEnds(t, n.ServerAddr(), "")
			server := startTunnel(t, n.StartServer, e.serverFile, c.flags...)
			server.await("the server is up", func(status) bool { return true })
			conn, err := n.ClientListen(t.Context(), "udp", netip.AddrPortFrom(n.ClientAddr(), 0).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			s := stranger{t, conn, addrOf(n.ServerAddr(), 51820)}

			ours, another := sealOf(t, e.server), sealOf(t, newKeys(t))
			known := wire.Hello{ID: wire.NewID()}
			hello := known.Encode()
			spoilt := ours.Close(hello)
			spoilt[len(spoilt)-1] ^= 1
			for what, message := range map[string][]byte{
				"plain STUN":                      wire.Binding{ID: wire.NewID()}.Encode(),
				"plain STUN with another seal":    another.Close(wire.Binding{ID: wire.NewID()}.Encode()),
				"a hello without a seal":          hello,
				"a hello with another seal":       another.Close(hello),
				"a hello with the seal spoilt":    spoilt,
				"a hello with its seal cut off":   ours.Close(hello)[:len(hello)],
				"a check without a seal":          wire.Check{ID: wire.NewID()}.Encode(),
				"an unknown attribute":            unknownAttribute(),
				"broken STUN":                     hello[:21],
				"a WireGuard message of no peer":  append([]byte{1, 0, 0, 0}, make([]byte, 144)...),
				"nothing":                         {},
				"a cookie and nothing else of it": {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42},
			} {
				s.send(what, message)
			}
			if answer := s.hear(time.Second); answer != nil {
				t.Errorf("a stranger got %d bytes back: %x", len(answer), answer)
			}
			s.send("a sealed hello", ours.Close(hello))
			if c.flags != nil {
				if answer := s.hear(time.Second); answer != nil {
					t.Errorf("a tunnel that doesn't reflect answered with %d bytes", len(answer))
				}
				return
			}
			reply, err := wire.ParseReply(s.hear(tunnelPatience))
			if got, ok := reply.(wire.HelloReply); !ok || got.ID != known.ID || got.Mapped != addrPortOf(conn) {
				t.Errorf("a sealed hello got %+v (%v)", reply, err)
			}
		})
	}
}

// stranger sends to a server and listens.
type stranger struct {
	t    *testing.T
	conn net.PacketConn
	to   net.Addr
}

func (s stranger) send(what string, message []byte) {
	s.t.Helper()
	if _, err := s.conn.WriteTo(message, s.to); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

// hear returns the next datagram, nil where none comes.
func (s stranger) hear(wait time.Duration) []byte {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		s.t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	n, _, err := s.conn.ReadFrom(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return buffer[:n]
}

func addrPortOf(conn net.PacketConn) netip.AddrPort {
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func sealOf(t *testing.T, keys keyPair) *wire.Seal {
	t.Helper()
	public, err := base64.StdEncoding.DecodeString(keys.public)
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewSeal([32]byte(public))
}

// unknownAttribute returns STUN with an attribute that has to be understood,
// which plain STUN servers answer with an error (RFC 8489 section 6.3.1).
func unknownAttribute() []byte {
	id := wire.NewID()
	message := append([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42}, id[:]...)
	return append(message, 0x7f, 0xff, 0, 0)
}
