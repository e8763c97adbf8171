package main_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"
)

// TestKernelTunnelTraffic sends other people's traffic through tunnels between
// natprobe and Debian's wireguard-go, each as the client of the other: ping and
// iperf3, in both directions, over both families.
func TestKernelTunnelTraffic(t *testing.T) {
	needTunnels(t, "wireguard-go", "wg", "ip", "ping", "iperf3")
	for name, spec := range outsides() {
		for _, oursIsClient := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, ours is the client: %v", name, oursIsClient), func(t *testing.T) {
				t.Parallel()
				n := startKernelNet(t, spec)
				allowIPv6(t, n.Lab)
				e := newEnds(t, n.ServerAddr(), "4")
				ours, debian := n.StartServer, n.StartClient
				oursFile, debianFile := e.serverFile, e.clientFile
				if oursIsClient {
					ours, debian = debian, ours
					oursFile, debianFile = debianFile, oursFile
				}
				side := startTunnel(t, ours, oursFile)
				side.await("it is up", func(status) bool { return true })
				startDebian(t, debian, debianFile)
				side.await("the handshake", shookHands(time.Time{}))
				for _, way := range []struct {
					from, to func(*exec.Cmd) error
					at       inside
				}{{n.StartClient, n.StartServer, serverInside}, {n.StartServer, n.StartClient, clientInside}} {
					for _, addr := range []netip.Addr{way.at.ip4, way.at.ip6} {
						mustRunOn(t, way.from, "ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", "1300", addr.String())
					}
					if rate := transferFor(t, way.from, way.to, way.at.ip4, 1); rate <= 0 {
						t.Errorf("nothing arrived at %v", way.at.ip4)
					}
				}
			})
		}
	}
}
