package natmodel_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

// A request and its reply through a stock Linux router leave a mapping that
// lives 30 s, although the router's timer for streams is 120 s.
func Example() {
	cfg := natmodel.Linux(30*time.Second, 120*time.Second)
	cfg.External = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	nat, err := natmodel.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	server := netip.MustParseAddrPort("203.0.113.1:3478")
	request := natmodel.Packet{
		Src: netip.MustParseAddrPort("192.168.1.2:40000"),
		Dst: server,
		TTL: natmodel.DefaultTTL,
	}

	out, _ := nat.Outbound(0, request)
	fmt.Println("the server sees", out.Src)

	reply := natmodel.Packet{Src: server, Dst: out.Src, TTL: natmodel.DefaultTTL}
	for _, at := range []time.Duration{0, 29 * time.Second, 149 * time.Second} {
		_, ok := nat.Inbound(at, reply)
		fmt.Println("reply at", at, "passes:", ok)
	}
	// Output:
	// the server sees 198.51.100.1:40000
	// reply at 0s passes: true
	// reply at 29s passes: true
	// reply at 2m29s passes: false
}
