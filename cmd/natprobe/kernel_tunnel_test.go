package main_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/tuner"
)

var (
	insideServer = netip.MustParseAddr("10.77.0.1")
	insideClient = netip.MustParseAddr("10.77.0.2")
)

// roaming is the lab of a laptop: a NAT of 6/12 s at home, one of 3/6 s
// elsewhere.
func roaming() natlab.Spec {
	return natlab.Spec{
		NATs:      []natlab.NATSpec{{Solitary: 6 * time.Second, Stream: 12 * time.Second}},
		Elsewhere: []natlab.NATSpec{{Solitary: 3 * time.Second, Stream: 6 * time.Second}},
	}
}

// tunnelFiles returns the files of a server and of a client behind a NAT.
func tunnelFiles(t *testing.T, server netip.Addr, keepalive string) (serverFile, clientFile string) {
	t.Helper()
	s, c := newKeys(t), newKeys(t)
	serverFile = fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v/24\nListenPort = 51820\n[Peer]\nPublicKey = %s\nAllowedIPs = %v/32\n",
		s.private, insideServer, c.public, insideClient)
	clientFile = fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %v/24\n[Peer]\nPublicKey = %s\nAllowedIPs = %v/32\nEndpoint = %v\n%s\n",
		c.private, insideClient, s.public, insideServer, netip.AddrPortFrom(server, 51820), keepalive)
	return serverFile, clientFile
}

func isSet(s status) bool { return s.path().Phase == tuner.PhaseSet }

// checkRule checks that an interval is what the rule says of the lifetimes that
// the tuner itself found, and that these contain the truth.
func checkRule(t *testing.T, p tuner.PathStatus, truth natlab.Timers) {
	t.Helper()
	if p.Recommendation == nil || p.Recommendation.KeepaliveS == nil || *p.Recommendation.KeepaliveS != p.IntervalS {
		t.Fatalf("the interval is %d s, and the recommendation %+v", p.IntervalS, p.Recommendation)
	}
	in := analysis.Input{Family: results.IPv4, LossKnown: true, Tolerance: analysis.Tolerance{Lateness: analysis.LatenessExact}}
	bounds := map[results.Regime]*analysis.Bounds{results.Oneway: &in.Oneway, results.Exchange: &in.Exchange, results.Stream: &in.Stream}
	for _, l := range p.Lifetimes {
		*bounds[l.Regime] = analysis.Bounds{LowerS: l.LowerS, UpperS: l.UpperS}
		want := truth.Exchange
		if l.Regime == results.Stream {
			want = truth.Stream
		}
		if l.LowerS > (want+labTick).Seconds() || l.UpperS == nil || *l.UpperS < (want-labTick).Seconds() {
			t.Errorf("%s: the tuner found %v to %v s, the truth is %v", l.Regime, l.LowerS, l.UpperS, want)
		}
	}
	// The loss that was measured allows for one keepalive lost, as without any.
	if best := analysis.Recommend(in); best.KeepaliveS == nil || *best.KeepaliveS != p.IntervalS {
		t.Errorf("the tuner set %d s; by the rule its lifetimes give %+v", p.IntervalS, best.KeepaliveS)
	}
}

// TestKernelTunnelTunes is what the project is for. Behind a NAT the server loses
// the client without a keepalive; with the one that the tunnel found by itself
// it never does; and the tunnel has the right one wherever the client moves.
func TestKernelTunnelTunes(t *testing.T) {
	needTunnels(t)
	n, _, client, _ := tunnelPair(t, "PersistentKeepalive = auto")

	got := client.await("the interval is set at home", isSet)
	home := got.path()
	took := home.MeasuredAt.Sub(client.begun)
	t.Logf("at home: %d s, %.1f s after the start", home.IntervalS, took.Seconds())
	checkRule(t, home, n.Spec().Truth())
	if home.IntervalS < 4 || home.IntervalS > 5 {
		t.Errorf("at home the interval is %d s, want 4 or 5", home.IntervalS)
	}
	if took > 30*time.Second && !raceDetector {
		t.Errorf("it took %v, want 30 s at most", took)
	}
	k := newKnocker(t, n.Lab, insideServer, insideClient)
	soak(k, 40*time.Second)

	page, complaint, code := runCommand(t, "status", "--run-dir", client.runDir, client.iface)
	t.Logf("natprobe status:\n%s", page)
	for _, want := range []string{client.iface, "192.168.1.1", "measured: exchange", "tunnel in use", "saves", "verify in"} {
		if !strings.Contains(page, want) {
			t.Errorf("natprobe status doesn't say %q (status %d, %q)", want, code, complaint)
		}
	}

	moved := time.Now()
	if err := n.Move(1); err != nil {
		t.Fatal(err)
	}
	got = client.await("the interval is set elsewhere", func(s status) bool {
		return isSet(s) && s.path().MeasuredAt.After(moved)
	})
	there := got.path()
	took = there.MeasuredAt.Sub(moved)
	t.Logf("elsewhere: %d s, %.1f s after the move", there.IntervalS, took.Seconds())
	checkRule(t, there, natlab.Spec{NATs: n.Spec().Elsewhere}.Truth())
	if longest := 6 * time.Second; took > longest*115/100+10*time.Second && !raceDetector {
		t.Errorf("it took %v, want 1.15 times %v and 10 s at most", took, longest)
	}
	soak(k, 15*time.Second)

	moved = time.Now()
	if err := n.Move(0); err != nil {
		t.Fatal(err)
	}
	got = client.await("the interval is back at home", func(s status) bool { return s.path().IntervalS == home.IntervalS })
	last := got.Tuner.Changes[len(got.Tuner.Changes)-1]
	t.Logf("back: %d s, %.1f s after the move: %s", last.IntervalS, last.At.Sub(moved).Seconds(), last.Reason)
	if !got.path().MeasuredAt.Equal(*home.MeasuredAt) {
		t.Error("on moving back it was measured anew before it was set")
	}
	soak(k, 15*time.Second)
}

// soak knocks from the server at random moments, each after a silence that the
// client's keepalives alone can bridge. Each knock must be heard.
func soak(k *knocker, length time.Duration) {
	k.t.Helper()
	knocks, heard := 0, 0
	for end := time.Now().Add(length); time.Now().Before(end); {
		<-time.After(time.Duration(rand.Int64N(int64(7*time.Second))) + time.Second) // the silence is what is under test
		knocks++
		if !k.knock() {
			k.t.Errorf("the server didn't reach the client at knock %d", k.number)
		} else {
			heard++
		}
	}
	k.t.Logf("%d of %d knocks were heard", heard, knocks)
}

// TestKernelTunnelWithout is the trouble that keepalives are for: the same
// tunnel without any is lost after the NAT's timer.
func TestKernelTunnelWithout(t *testing.T) {
	needTunnels(t)
	n, server, client, _ := tunnelPair(t, "")
	client.await("the client is up", func(status) bool { return true })

	hello(t, n)
	server.await("the handshake", func(s status) bool { return len(s.Peers) == 1 && s.Peers[0].Received > 0 })
	k := newKnocker(t, n.Lab, insideServer, insideClient)
	if !k.knock() {
		t.Fatal("the server doesn't reach the client just after the handshake")
	}
	// WireGuard still answers what it received, after 10 s, and at times it
	// shakes hands once more after 15 s. Linux's NAT takes packets of either side
	// for life: only silence lets its longest timer run out.
	awaitSilence(server, n.Spec().Truth().Stream+2*time.Second)
	if k.knock() {
		t.Error("the server still reaches the client after a silence longer than the NAT's timer")
	}
}

// awaitSilence waits until a tunnel has sent and received nothing for some time.
func awaitSilence(s *side, silence time.Duration) {
	s.t.Helper()
	var bytes uint64
	since := time.Now()
	s.await("silence", func(got status) bool {
		if now := got.Peers[0].Received + got.Peers[0].Sent; now != bytes {
			bytes, since = now, time.Now()
		}
		return time.Since(since) > silence
	})
}

// hello sends a packet from the client through the tunnel.
func hello(t *testing.T, n *kernelNet) {
	t.Helper()
	conn, err := n.ClientListen(t.Context(), "udp", netip.AddrPortFrom(insideClient, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.WriteTo([]byte("hello"), addrOf(insideServer, 9)); err != nil {
		t.Fatal(err)
	}
}

// TestKernelTunnelDefaultRoute sends all of the client's traffic through the
// tunnel: what is measured, and the network that is recognised, lie outside.
func TestKernelTunnelDefaultRoute(t *testing.T) {
	needTunnels(t)
	n := startKernelNet(t, roaming())
	serverFile, clientFile := tunnelFiles(t, n.ServerAddr(), "PersistentKeepalive = auto")
	clientFile = strings.Replace(clientFile, fmt.Sprintf("AllowedIPs = %v/32", insideServer), "AllowedIPs = 0.0.0.0/0", 1)
	server := startTunnel(t, n.StartServer, serverFile)
	server.await("the server is up", func(status) bool { return true })
	client := startTunnel(t, n.StartClient, clientFile)
	home := client.await("the interval is set at home", isSet).path()
	checkRule(t, home, n.Spec().Truth())
	if !strings.Contains(home.Network, "192.168.1.1") {
		t.Errorf("the network is %q, want the one outside the tunnel", home.Network)
	}
	k := newKnocker(t, n.Lab, insideServer, insideClient)
	if !k.heard(tunnelPatience) {
		t.Error("the server doesn't reach the client")
	}
	moved := time.Now()
	if err := n.Move(1); err != nil {
		t.Fatal(err)
	}
	there := client.await("the interval is set elsewhere", func(s status) bool {
		return isSet(s) && s.path().MeasuredAt.After(moved)
	}).path()
	checkRule(t, there, natlab.Spec{NATs: n.Spec().Elsewhere}.Truth())
	if !k.heard(tunnelPatience) {
		t.Error("the server doesn't reach the client elsewhere")
	}
}

// TestKernelTunnelIPv6 is behind a firewall that translates nothing.
func TestKernelTunnelIPv6(t *testing.T) {
	needTunnels(t)
	spec := natlab.Spec{Family: natlab.IPv6, NATs: []natlab.NATSpec{{None: true, Solitary: 6 * time.Second, Stream: 12 * time.Second}}}
	n := startKernelNet(t, spec)
	serverFile, clientFile := tunnelFiles(t, n.ServerAddr(), "PersistentKeepalive = auto")
	server := startTunnel(t, n.StartServer, serverFile)
	server.await("the server is up", func(status) bool { return true })
	client := startTunnel(t, n.StartClient, clientFile)
	p := client.await("the interval is set", isSet).path()
	if p.Family != results.IPv6 {
		t.Errorf("the path is %s", p.Family)
	}
	checkRule(t, p, n.Spec().Truth())
	soak(newKnocker(t, n.Lab, insideServer, insideClient), 15*time.Second)
}
