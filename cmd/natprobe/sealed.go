package main

import (
	"context"
	"net"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/reflector/wire"
)

// unsealing is the reflector's side of a port that is shared with WireGuard: it
// hears what has the server's seal, and nothing else.
type unsealing struct {
	net.PacketConn
	seal *wire.Seal
}

// ReadFrom reads the next message that is sealed, without its seal.
func (c unsealing) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(p)
		if err != nil {
			return n, from, err
		}
		if message, ok := c.seal.Open(p[:n]); ok {
			return len(message), from, nil
		}
	}
}

// sealing is the prober's side.
type sealing struct {
	net.PacketConn
	seal *wire.Seal
}

// WriteTo seals what it sends.
func (c sealing) WriteTo(p []byte, to net.Addr) (int, error) {
	if _, err := c.PacketConn.WriteTo(c.seal.Close(p), to); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sealed returns a listen function whose sockets talk to a shared port.
func sealed(listen probe.ListenFunc, seal *wire.Seal) probe.ListenFunc {
	return func(ctx context.Context, network, address string) (net.PacketConn, error) {
		conn, err := listen(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return sealing{conn, seal}, nil
	}
}
