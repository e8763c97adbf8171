package sharedport

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// Bind is a WireGuard bind that hands out datagrams of STUN. Make it with New.
type Bind struct {
	conn.Bind
	foreign *PacketConn
	port    atomic.Uint32
}

// New returns a bind around another one, which is its alone from now on. Nil
// stands for the one that WireGuard would have without it.
func New(inner conn.Bind) *Bind {
	if inner == nil {
		inner = conn.NewDefaultBind()
	}
	b := &Bind{Bind: inner}
	b.foreign = newPacketConn(b)
	return b
}

// PacketConn returns what reads and writes STUN on the port, always the same.
// It stays while the bind is closed and opened again, as WireGuard does with a
// change of port or mark.
func (b *Bind) PacketConn() *PacketConn { return b.foreign }

// Open opens the inner bind, see conn.Bind.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	inner, port, err := b.Bind.Open(port)
	if err != nil {
		return nil, 0, err
	}
	b.port.Store(uint32(port))
	receive := make([]conn.ReceiveFunc, len(inner))
	for i, fn := range inner {
		receive[i] = b.sorted(fn)
	}
	return receive, port, nil
}

// sorted receives as fn does, and takes out what is STUN: a size of zero tells
// WireGuard that there is nothing to look at.
func (b *Bind) sorted(fn conn.ReceiveFunc) conn.ReceiveFunc {
	return func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := fn(packets, sizes, eps)
		for i := range n {
			if packet := packets[i][:sizes[i]]; isSTUN(packet) {
				b.foreign.deliver(packet, eps[i])
				sizes[i] = 0
			}
		}
		return n, err
	}
}

const (
	stunHeader = 20 // bytes, RFC 8489 section 5
	// WireGuard's messages begin with their type, 1 to 4, in four bytes, little
	// endian.
	lastMessageType = 4
)

var magicCookie = []byte{0x21, 0x12, 0xa4, 0x42}

// isSTUN tells STUN messages from WireGuard's. What is neither is WireGuard's
// to drop.
func isSTUN(packet []byte) bool {
	if len(packet) < stunHeader {
		return false
	}
	if kind := binary.LittleEndian.Uint32(packet); kind-1 < lastMessageType {
		return false
	}
	return packet[0]&0xc0 == 0 && bytes.Equal(packet[4:8], magicCookie)
}
