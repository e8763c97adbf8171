//go:build linux

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
)

// labAlternatePort is the other port of a reflector with two addresses.
const labAlternatePort = 3479

// startDiscoveryNet builds a lab whose server has a second address, and runs a
// reflector on both.
func startDiscoveryNet(t *testing.T, spec natlab.Spec) *kernelNet {
	t.Helper()
	n, _ := startDiscovery(t, spec)
	return n
}

// startDiscovery is startDiscoveryNet for who looks at the reflector, too.
func startDiscovery(t *testing.T, spec natlab.Spec) (*kernelNet, *reflector.Reflector) {
	t.Helper()
	n := startKernelNet(t, spec)
	n.stopReflector()
	alternate := n.ServerAddr().Next().Next() // the one between is the outermost box's, or the client's
	addServerAddr(t, n, alternate)
	var d reflector.Discovery
	for a, addr := range []netip.Addr{n.ServerAddr(), alternate} {
		for p, port := range []uint16{labPort, labAlternatePort} {
			conn, err := n.listen(netip.AddrPortFrom(addr, port))
			if err != nil {
				t.Fatal(err)
			}
			d.Conns[a][p] = []net.PacketConn{conn}
		}
	}
	r, err := reflector.New(reflector.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := r.ServeDiscovery(ctx, d); err != nil {
			t.Errorf("ServeDiscovery: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, r
}

// coturnTool finds one of coturn's programs, or skips the test.
func coturnTool(t *testing.T, name string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED, %s NEEDS %s (Debian: apt-get install coturn)", t.Name(), name)
	}
	return program
}

// output runs a program on the lab's client and returns what it says.
func (n *kernelNet) output(program string, args ...string) string {
	n.t.Helper()
	cmd := exec.Command(program, args...)
	output, ended := n.outputOf(cmd, 3*stunPatience)
	if !ended {
		n.t.Fatalf("%v ran for %v:\n%s", cmd, 3*stunPatience, output)
	}
	return output
}

// outputOf runs a program on the lab's client for some time at most, and returns
// what it says and whether it ended by itself.
func (n *kernelNet) outputOf(cmd *exec.Cmd, patience time.Duration) (said string, ended bool) {
	n.t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := n.StartClient(cmd); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	err := cmd.Wait()
	return output.String(), err == nil || ctx.Err() == nil
}

// behaviours are networks and what RFC 5780 calls them. Linux keeps a port
// where it can, so its mapping looks endpoint-independent; it lets in only what
// comes from exactly where the inside has sent to, unless a box is told to let in
// more.
func behaviours() []behaviour {
	random := box(30, 120)
	random.RandomPorts = true
	open, half := box(30, 120), box(30, 120)
	open.Filtering, half.Filtering = natlab.EndpointIndependent, natlab.AddressDependent
	openWall, halfWall := open, half
	openWall.None, halfWall.None = true, true
	return []behaviour{
		{"no NAT", natlab.Spec{}, independent, independent},
		{"firewall", natlab.Spec{NATs: []natlab.NATSpec{{None: true}}}, independent, dependent},
		{"home router", natlab.Spec{NATs: []natlab.NATSpec{box(30, 120)}}, independent, dependent},
		{"random ports", natlab.Spec{NATs: []natlab.NATSpec{random}}, dependent, dependent},
		{"two in a row", natlab.Spec{NATs: []natlab.NATSpec{random, strict(box(30, 120))}}, dependent, dependent},
		{"IPv6 firewall", natlab.Spec{Family: natlab.IPv6, NATs: []natlab.NATSpec{{None: true}}}, independent, dependent},
		{"endpoint-independent filtering", natlab.Spec{NATs: []natlab.NATSpec{open}}, independent, independent},
		{"address-dependent filtering", natlab.Spec{NATs: []natlab.NATSpec{half}}, independent, addressDependent},
		{"address-dependent, then endpoint-independent", natlab.Spec{NATs: []natlab.NATSpec{half, open}}, independent, addressDependent},
		{"IPv6, endpoint-independent filtering", natlab.Spec{Family: natlab.IPv6, NATs: []natlab.NATSpec{openWall}}, independent, independent},
		{"IPv6, address-dependent filtering", natlab.Spec{Family: natlab.IPv6, NATs: []natlab.NATSpec{halfWall}}, independent, addressDependent},
	}
}

type behaviour struct {
	name               string
	spec               natlab.Spec
	mapping, filtering string
}

const (
	independent      = "endpoint independent"
	addressDependent = "address dependent"
	dependent        = "address and port dependent"
)

// TestKernelCoturnDiscovery has coturn's client find out how networks map and
// filter, with small packets and with such as come in fragments.
func TestKernelCoturnDiscovery(t *testing.T) {
	t.Parallel()
	program := coturnTool(t, "turnutils_natdiscovery")
	for _, b := range behaviours() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			n := startDiscoveryNet(t, b.spec)
			b.checkCoturn(n, program)
			b.checkCoturn(n, program, "-P")
		})
	}
}

// checkCoturn has coturn's client find a network's behaviour, with some flags
// more.
func (b behaviour) checkCoturn(n *kernelNet, program string, flags ...string) {
	n.t.Helper()
	got := strings.ToLower(n.output(program, append(flags, "-m", "-f", "-p", strconv.Itoa(labPort), n.ServerAddr().String())...))
	for _, want := range []string{b.mapping + " mapping!", b.filtering + " filtering!"} {
		if !strings.Contains(got, want) {
			n.t.Errorf("with %v it doesn't say %q:\n%s", flags, want, got)
		}
	}
}

// TestKernelPionDiscovery is TestKernelCoturnDiscovery with pion's program.
func TestKernelPionDiscovery(t *testing.T) {
	t.Parallel()
	program := pionDiscovery(t)
	for _, b := range behaviours() {
		if b.spec.Family == natlab.IPv6 {
			continue // it binds its socket to IPv4
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			n := startDiscoveryNet(t, b.spec)
			b.checkPion(n, program)
		})
	}
}

// checkPion has pion's program find a network's behaviour.
func (b behaviour) checkPion(n *kernelNet, program string) {
	n.t.Helper()
	got := n.output(program, "-server", netip.AddrPortFrom(n.ServerAddr(), labPort).String(), "-timeout", "1")
	for _, want := range []string{"NAT mapping behavior: " + b.mapping, "NAT filtering behavior: " + b.filtering} {
		if !strings.Contains(got, want) {
			n.t.Errorf("it doesn't say %q:\n%s", want, got)
		}
	}
}

// pionDiscovery builds pion's program, or skips the test.
func pionDiscovery(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "stun-nat-behaviour")
	build := goBuild("-p", "1", "-o", program, "github.com/pion/stun/v3/cmd/stun-nat-behaviour")
	if output, err := build.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, %s NEEDS pion's stun-nat-behaviour, which can't be built: %v\n%s", t.Name(), err, output)
	}
	return program
}

// TestKernelCoturnLifetime has coturn's client test whether a mapping is there
// after a while: it asks from another port for an answer to the first one
// (RESPONSE-PORT).
func TestKernelCoturnLifetime(t *testing.T) {
	t.Parallel()
	program := coturnTool(t, "turnutils_natdiscovery")
	const s = time.Second
	for _, test := range []struct{ life, wait time.Duration }{{4 * s, 2 * s}, {4 * s, 6 * s}, {8 * s, 6 * s}, {8 * s, 10 * s}} {
		t.Run(fmt.Sprintf("%v of %v", test.wait, test.life), func(t *testing.T) {
			t.Parallel()
			n := startDiscoveryNet(t, natlab.Spec{NATs: []natlab.NATSpec{{Solitary: test.life, Stream: test.life}}})
			got := n.output(program, "-t", "-T", strconv.Itoa(int(test.wait.Seconds())), "-p", strconv.Itoa(labPort), n.ServerAddr().String())
			if answers := strings.Count(got, "RFC 5780 response"); (answers == 2) != (test.wait < test.life) || answers == 0 {
				t.Errorf("%d answers after %v of a mapping that lives %v:\n%s", answers, test.wait, test.life, got)
			}
		})
	}
}

// TestKernelCoturnStunclient has coturn's client ask for every change from a
// host without NAT.
func TestKernelCoturnStunclient(t *testing.T) {
	t.Parallel()
	program := coturnTool(t, "turnutils_stunclient")
	n := startDiscoveryNet(t, natlab.Spec{})
	got := n.output(program, "-f", "-p", strconv.Itoa(labPort), n.ServerAddr().String())
	if answers := strings.Count(got, "RFC 5780 response"); answers != 3 {
		t.Errorf("%d answers, want 3:\n%s", answers, got)
	}
	origin := netip.AddrPortFrom(n.ServerAddr().Next().Next(), labAlternatePort).String()
	if !strings.Contains(got, "Response origin: : "+origin) {
		t.Errorf("nothing came from %s:\n%s", origin, got)
	}
}

// TestKernelCoturnStunclientFiltered has coturn's client ask for every change
// from behind boxes that let in only what comes from where the inside has sent
// to. The first answer comes. The second leaves the other address and port, so
// it must not come; the client waits for it forever, and asks nothing more.
func TestKernelCoturnStunclientFiltered(t *testing.T) {
	t.Parallel()
	program := coturnTool(t, "turnutils_stunclient")
	for _, b := range behaviours() {
		if b.filtering != dependent {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			n, r := startDiscovery(t, b.spec)
			const wait = 5 * time.Second // thousands of round trips, and enough on a busy machine
			got, ended := n.outputOf(exec.Command(program, "-f", "-p", strconv.Itoa(labPort), n.ServerAddr().String()), wait)
			if answers := strings.Count(got, "RFC 5780 response"); ended || answers != 1 {
				t.Errorf("%d answers, want 1; ended by itself: %v\n%s", answers, ended, got)
			}
			other := netip.AddrPortFrom(n.ServerAddr().Next().Next(), labAlternatePort)
			for _, want := range []string{
				"Response origin: : " + n.ServerAddr().String() + ":" + strconv.Itoa(labPort),
				"Other addr: : " + other.Addr().String() + ":" + strconv.Itoa(labAlternatePort),
			} {
				if !strings.Contains(got, want) {
					t.Errorf("it doesn't say %q:\n%s", want, got)
				}
			}
			if s := r.Stats(); s.Plain != 2 || s.PacketsOut != 2 || s.PlainRefused != 0 {
				t.Errorf("%d requests, %d answers, %d of them errors; want 2, both answered", s.Plain, s.PacketsOut, s.PlainRefused)
			}
		})
	}
}

// TestKernelFiltering asks through a NAT for an answer from each place. What it
// filters comes once the client has sent something there.
func TestKernelFiltering(t *testing.T) {
	t.Parallel()
	n, r := startDiscovery(t, natlab.Spec{NATs: []natlab.NATSpec{strict(box(30, 120))}})
	conn, err := n.ClientListen(t.Context(), "udp", netip.AddrPortFrom(n.ClientAddr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(stunPatience)); err != nil {
		t.Fatal(err)
	}
	primary := n.reflectorAddr()
	other := netip.AddrPortFrom(n.ServerAddr().Next().Next(), labAlternatePort)
	sent := uint64(0)
	// ask sends a request, and waits until it has been answered: whether the
	// answer comes is another matter.
	ask := func(at netip.AddrPort, change byte) [stun.TransactionIDSize]byte {
		t.Helper()
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		if change != 0 {
			m.Add(stun.AttrChangeRequest, []byte{0, 0, 0, change})
		}
		if _, err := conn.WriteTo(m.Raw, net.UDPAddrFromAddrPort(at)); err != nil {
			t.Fatal(err)
		}
		sent++
		for end := time.Now().Add(stunPatience); r.Stats().PacketsOut < sent; <-time.After(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no answer left to request %d", sent)
			}
		}
		return m.TransactionID
	}
	expect := func(id [stun.TransactionIDSize]byte, from netip.AddrPort) {
		t.Helper()
		b := make([]byte, 2048)
		size, addr, err := conn.ReadFrom(b)
		if err != nil {
			t.Fatalf("nothing came from %v: %v", from, err)
		}
		m := &stun.Message{Raw: b[:size]}
		if err := m.Decode(); err != nil || m.TransactionID != id || addr.String() != from.String() {
			t.Errorf("an answer from %v to %x (%v), want one from %v to %x", addr, m.TransactionID, err, from, id)
		}
	}
	const port, addr = 2, 4
	for _, change := range []byte{port, addr, port | addr} {
		ask(primary, change) // to a flow that the box doesn't know
		expect(ask(primary, 0), primary)
	}
	expect(ask(other, 0), other)
	expect(ask(primary, port|addr), other)
	ask(primary, addr)
	expect(ask(primary, 0), primary)
}

// TestKernelOneAddress: with one address coturn's client learns its own, and no
// more.
func TestKernelOneAddress(t *testing.T) {
	t.Parallel()
	program := coturnTool(t, "turnutils_natdiscovery")
	n := startKernelNet(t, natlab.Spec{NATs: []natlab.NATSpec{box(30, 120)}})
	got := n.output(program, "-m", "-f", "-p", strconv.Itoa(labPort), n.ServerAddr().String())
	if !strings.Contains(got, "UDP reflexive addr: "+n.ExternalAddr(0).String()) || strings.Contains(got, "Mapping!") || strings.Contains(got, "Filtering!") {
		t.Errorf("with one address it says:\n%s", got)
	}
}
