package simulate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

const (
	loadFlows   = 300
	loadPackets = 5000 // in both directions together
)

// load is about the traffic of one measurement.
func load(n testNet) {
	go echo(n.server())
	conns := make([]*conn, loadFlows)
	for i := range conns {
		conns[i] = n.dial()
		go func() {
			b := make([]byte, 1500)
			for {
				if _, _, err := conns[i].ReadFromUDPAddrPort(b); err != nil {
					return
				}
			}
		}()
	}
	for i := range loadPackets / 2 {
		n.say(conns[i%loadFlows], serverEnd, "some bytes of payload, as many as an order has")
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(time.Second)
}

func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, Config{NATs: []natmodel.Config{linux()}})
		load(n)
		if got := n.Stats().Delivered; got != loadPackets {
			t.Errorf("delivered %d packets, want %d", got, loadPackets)
		}
		if got := n.Mappings(0); got != loadFlows {
			t.Errorf("%d mappings, want %d", got, loadFlows)
		}
	})
}

// BenchmarkWrite is the cost of a packet up to the queue and off it again.
func BenchmarkWrite(b *testing.B) {
	n, err := New(Config{NATs: []natmodel.Config{linux()}, Inside: 1, Outside: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	c, err := n.Client().ListenPacket(context.Background(), "udp", ":0")
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.(*conn).WriteToUDPAddrPort(payload, serverEnd); err != nil {
			b.Fatal(err)
		}
	}
}
