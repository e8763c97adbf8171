package reflector

import (
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// BenchmarkGate is what messages cost that are sent without proof, as in a flood.
func BenchmarkGate(b *testing.B) {
	r, err := New(Config{Limits: Limits{PPS: Unlimited}})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	forged := r.gate.minter.Mint(home.Addr(), now)
	forged[19] ^= 1
	p := newPort(newMemConn(serverA, func(memPacket) {}))
	for _, m := range []struct {
		name    string
		payload []byte
	}{
		{"hello", wire.Hello{ID: wire.NewID()}.Encode()},
		{"order with four guessed tokens", wire.Order{
			ID: wire.NewID(), Session: wire.NewSessionID(), Tokens: []wire.Token{forged, forged, forged, forged}, Copies: 1,
		}.Encode()},
	} {
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r.natprobe(now, p, &packet{way: way{peer: home}, data: m.payload}) == nil {
					b.Fatal("no answer")
				}
			}
		})
	}
}
