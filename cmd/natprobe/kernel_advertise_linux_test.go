package main_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/vishvananda/netlink"

	"github.com/natprobe/natprobe/probe/natlab"
)

// cloud is a server behind a 1:1 NAT: of its two addresses everybody else knows
// the public ones only.
type cloud struct {
	*kernelNet
	private, public [2]netip.Addr
	program         *program
}

// cloudRules translate addresses one to one. What is sent to the private ones
// doesn't arrive, as on the Internet.
const cloudRules = `
table ip cloud {
	chain line {
		type filter hook prerouting priority raw
		iifname != "lo" ip daddr { %[1]s, %[2]s } drop
	}
	chain inward {
		type nat hook prerouting priority dstnat
		ip daddr %[3]s dnat to %[1]s
		ip daddr %[4]s dnat to %[2]s
	}
	chain outward {
		type nat hook postrouting priority srcnat
		ip saddr %[1]s snat to %[3]s
		ip saddr %[2]s snat to %[4]s
	}
}
`

// startCloud builds a lab whose server has its addresses behind a 1:1 NAT, and
// runs the program there.
func startCloud(t *testing.T, spec natlab.Spec, advertise bool) *cloud {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skipf("SKIPPED, %s NEEDS nft (Debian: apt-get install nftables)", t.Name())
	}
	c := &cloud{
		kernelNet: startKernelNet(t, spec),
		private:   [2]netip.Addr{netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("10.0.0.5")},
	}
	c.public = [2]netip.Addr{c.ServerAddr(), c.ServerAddr().Next().Next()}
	c.stopReflector()
	addServerAddr(t, c.kernelNet, c.public[1])
	onServer(t, c.kernelNet, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, addr := range c.private {
			own := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}
			if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: own}); err != nil {
				return err
			}
		}
		return nil
	})
	rules := exec.Command(nft, "-f", "-")
	rules.Stdin = strings.NewReader(fmt.Sprintf(cloudRules, c.private[0], c.private[1], c.public[0], c.public[1]))
	var said bytes.Buffer
	rules.Stdout, rules.Stderr = &said, &said
	if err := c.StartServer(rules); err != nil {
		t.Fatal(err)
	}
	if err := rules.Wait(); err != nil {
		t.Fatalf("nft: %v\n%s", err, said.String())
	}
	args := []string{
		"reflector",
		"--listen", netip.AddrPortFrom(c.private[0], labPort).String(),
		"--alternate", netip.AddrPortFrom(c.private[1], labAlternatePort).String(),
	}
	if advertise {
		args = append(args, "--advertise", c.public[0].String(), "--advertise", c.public[1].String())
	}
	c.program = startProgram(t, c.StartServer, testProgram(t), args...)
	c.program.await("natprobe measure --reflector ")
	return c
}

// TestKernelAdvertiseDiscovery has other people's clients find out how networks
// map and filter by a server behind a 1:1 NAT, which tells its public addresses.
func TestKernelAdvertiseDiscovery(t *testing.T) {
	t.Parallel()
	coturn, pion := coturnTool(t, "turnutils_natdiscovery"), pionDiscovery(t)
	for _, b := range behaviours() {
		if b.spec.Family == natlab.IPv6 || len(b.spec.NATs) == 0 {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			c := startCloud(t, b.spec, true)
			b.checkCoturn(c.kernelNet, coturn)
			b.checkPion(c.kernelNet, pion)
		})
	}
}

// TestKernelAdvertise checks which addresses such a server tells: with --advertise
// the public ones, from which its answers come, and without it its own.
func TestKernelAdvertise(t *testing.T) {
	t.Parallel()
	for _, advertise := range []bool{true, false} {
		t.Run(fmt.Sprint(advertise), func(t *testing.T) {
			t.Parallel()
			nat := box(30, 120)
			nat.Filtering = natlab.EndpointIndependent // all answers come through
			c := startCloud(t, natlab.Spec{NATs: []natlab.NATSpec{nat}}, advertise)
			told := c.private
			if advertise {
				told = c.public
			}
			if command := "--reflector " + told[0].String() + "\n"; !strings.Contains(c.program.output(), command) {
				t.Errorf("it doesn't say %q", command)
			}
			ports := [2]uint16{labPort, labAlternatePort}
			for asked := range 4 {
				for change := range 4 {
					a, p := asked/2, asked%2
					m, from := c.ask(netip.AddrPortFrom(c.public[a], ports[p]), byte(change))
					var other stun.OtherAddress
					var origin stun.ResponseOrigin
					if err := m.Parse(&other, &origin); err != nil {
						t.Fatal(err)
					}
					if want := netip.AddrPortFrom(told[1-a], ports[1-p]).String(); other.String() != want {
						t.Errorf("asked at %v: OTHER-ADDRESS is %v, want %v", c.public[a], other, want)
					}
					fromAddr, fromPort := a^change/2, p^change%2
					if want := netip.AddrPortFrom(told[fromAddr], ports[fromPort]).String(); origin.String() != want {
						t.Errorf("asked at %v for change %d: RESPONSE-ORIGIN is %v, want %v", c.public[a], change, origin, want)
					}
					if want := netip.AddrPortFrom(c.public[fromAddr], ports[fromPort]); from != want {
						t.Errorf("asked at %v for change %d: the answer comes from %v, want %v", c.public[a], change, from, want)
					}
				}
			}
		})
	}
}

// ask sends a request from the lab's client, and returns the answer and from
// where it came. The lowest bit of change is for another port, the next for
// another address.
func (c *cloud) ask(at netip.AddrPort, change byte) (*stun.Message, netip.AddrPort) {
	c.t.Helper()
	conn, err := c.ClientListen(c.t.Context(), "udp4", netip.AddrPortFrom(c.ClientAddr(), 0).String())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.RawAttribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, change << 1}})
	if _, err := conn.WriteTo(request.Raw, net.UDPAddrFromAddrPort(at)); err != nil {
		c.t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(stunPatience)); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, 2048)
	n, from, err := conn.ReadFrom(b)
	if err != nil {
		c.t.Fatalf("no answer from %v to a request to change %d: %v", at, change, err)
	}
	m := &stun.Message{Raw: b[:n]}
	if err := m.Decode(); err != nil || m.TransactionID != request.TransactionID {
		c.t.Fatalf("from %v came % x (%v), which is no answer", from, b[:n], err)
	}
	return m, from.(*net.UDPAddr).AddrPort()
}
