package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

func TestReflectorCheckCommandLines(t *testing.T) {
	t.Parallel()
	silent := udpSocket(t).LocalAddr().String()
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"check --help", exitDone, "3 undecided"},
		{"check", exitUsage, "which reflector?"},
		{"check a b", exitUsage, "at most 1 arg"},
		{"check 192.0.2.1:x", exitUsage, `"x" is not a port`},
		{"check 192.0.2.1 --max-gap 1s", exitUsage, "max-gap 1s is not whole seconds between 2s and 1h"},
		{"check 192.0.2.1 --max-gap 2500ms", exitUsage, "max-gap 2.5s is not whole seconds"},
		{"check 192.0.2.1 --max-gap 0s", exitUsage, "--max-gap 0s is not above 0"},
		{"check 192.0.2.1 --max-gap 9s --quick", exitUsage, "--quick and --max-gap"},
		{"check 192.0.2.1 --near two", exitUsage, `--near "two"`},
		{"check 192.0.2.1 --near -1", exitUsage, `--near "-1"`},
		{"check 192.0.2.1 --near 17", exitUsage, "near 17 is not between 0 and 16"},
		{"check 192.0.2.1 --family ipx", exitUsage, `"ipx"`},
		{"check 192.0.2.1 --lab fast", exitUsage, "--lab and a HOST"},
		{"check --lab slow", exitUsage, `"slow"`},
		{"check 127.0.0.1 --family ipv6", exitUsage, "--family ipv6"},
		{"check --quiet " + silent, exitUnreachable, "did not answer"},
		{"chekc", exitUsage, `unknown command "chekc"`},
		{"--egress-gap 1500ms", exitUsage, "--egress-gap 1.5s is not whole seconds from 0s to 10m0s"},
		{"--egress-gap 11m", exitUsage, "--egress-gap 11m0s"},
		{"--egress-gap -1s", exitUsage, "--egress-gap -1s"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			got := natprobe(t.Context(), nil, "", append([]string{"reflector"}, strings.Fields(test.args)...)...)
			if got.status != test.status || !strings.Contains(got.stdout+got.stderr, test.says) {
				t.Errorf("status %d, stdout %q, stderr %q; want %d and %q", got.status, got.stdout, got.stderr, test.status, test.says)
			}
		})
	}
}

// checkReflector runs the verb.
func checkReflector(t *testing.T, args ...string) (results.Check, told) {
	t.Helper()
	got := natprobe(t.Context(), nil, "", append([]string{"reflector", "check", "--json", "--quiet"}, args...)...)
	var c results.Check
	if err := json.Unmarshal([]byte(got.stdout), &c); err != nil {
		t.Fatalf("%v, status %d, stdout %q, stderr %q", err, got.status, got.stdout, got.stderr)
	}
	if len(c.Addresses) == 0 || c.Addresses[0].Egress == nil {
		t.Fatalf("no address was checked: %+v, stderr %q", c, got.stderr)
	}
	return c, got
}

// TestReflectorCheckLoopback checks a reflector as its operator starts it.
func TestReflectorCheckLoopback(t *testing.T) {
	t.Parallel()
	address := startReflector(t, "--egress-gap", "5m")
	c, got := checkReflector(t, address, "--max-gap", "3s")
	a := c.Addresses[0]
	if got.status != exitDone || c.Verdict != results.CheckWorks || c.EgressGapS != 3 || a.Egress.AdvertisedS != 300 {
		t.Errorf("status %d, %+v, egress %+v", got.status, c, *a.Egress)
	}
	if len(a.Ports) != 1 || !a.Ports[0].STUN || !a.Ports[0].Natprobe || a.Limits == nil || a.Limits.DelayS != (10*time.Minute).Seconds() {
		t.Errorf("ports %+v, limits %+v", a.Ports, a.Limits)
	}
}

// TestReflectorCheckAlternates checks a reflector that has the second address of
// RFC 5780.
func TestReflectorCheckAlternates(t *testing.T) {
	t.Parallel()
	r, err := reflector.New(reflector.Config{})
	if err != nil {
		t.Fatal(err)
	}
	freePort := func() uint16 { return netip.MustParseAddrPort(udpSocket(t).LocalAddr().String()).Port() }
	primary := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort()+1)
	d, err := reflector.ListenDiscovery(t.Context(), primary, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), freePort()+1), 1)
	if err != nil {
		t.Skipf("SKIPPED, THIS MACHINE HAS NO TWO LOOPBACK ADDRESSES WITH TWO FREE PORTS: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.ServeDiscovery(ctx, d) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = d.Close()
	})
	c, got := checkReflector(t, primary.String(), "--max-gap", "2s")
	if got.status != exitDone || len(c.Addresses[0].Ports) != 4 {
		t.Fatalf("status %d, problems %q, ports %+v", got.status, c.Problems, c.Addresses[0].Ports)
	}
	for i, p := range c.Addresses[0].Ports {
		if !p.STUN || !p.Natprobe || p.Alternate != (i > 0) || p.RTTms <= 0 {
			t.Errorf("port %+v", p)
		}
	}
}

// fakeSTUN is a plain STUN server that tells of another address.
func fakeSTUN(t *testing.T, other string) string {
	t.Helper()
	conn := udpSocket(t)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return // the test is over
			}
			var p wire.Plain
			if wire.ParsePlain(buf[:n], &p) == wire.FormForeign {
				continue
			}
			reply := wire.BindingReply{Mapped: from.(*net.UDPAddr).AddrPort(), Other: netip.MustParseAddrPort(other)}
			reply.ID = wire.ID(buf[8:20])
			_, _ = conn.WriteTo(reply.Encode(), from)
		}
	}()
	return conn.LocalAddr().String()
}

// TestReflectorCheckPlainSTUN checks what is no natprobe reflector, and whose
// other address is silent.
func TestReflectorCheckPlainSTUN(t *testing.T) {
	t.Parallel()
	silent := udpSocket(t).LocalAddr().String()
	at := fakeSTUN(t, silent)
	got := natprobe(t.Context(), nil, "", "reflector", "check", "--quiet", at)
	text := strings.Join(strings.Fields(got.stdout), " ")
	if got.status != exitFailed {
		t.Errorf("status %d, stderr %q", got.status, got.stderr)
	}
	for _, want := range []string{
		at + ": it answers plain STUN, and nothing of natprobe's own.",
		silent + ": OTHER-ADDRESS tells of it, but it answers nothing.",
		"alternate " + silent + " answers nothing",
		"run it without --egress-gap",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("doesn't say %q:\n%s", want, got.stdout)
		}
	}
}

// TestReflectorCheckAddresses checks a name with several addresses: one works,
// one doesn't answer, and to one there is no way.
func TestReflectorCheckAddresses(t *testing.T) {
	t.Parallel()
	works, silent := netip.MustParseAddrPort(startReflector(t)), netip.MustParseAddrPort(udpSocket(t).LocalAddr().String())
	here := works.Addr()
	for _, test := range []struct {
		name      string
		endpoints []endpoint
		status    int
		says      string
	}{
		{"no route to one", []endpoint{{works, here}, {remote: netip.MustParseAddrPort("[2001:db8::1]:3478")}}, exitInconclusive, "no route to it"},
		{"no answer of one", []endpoint{{works, here}, {silent, here}}, exitFailed, silent.String() + ": no answer"},
		{"no answer at all", []endpoint{{silent, here}}, exitUnreachable, "did not answer"},
		{"no route at all", []endpoint{{remote: works}}, exitUnreachable, "no route"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr strings.Builder
			a := &app{stdout: &output{to: &stdout}, stderr: &stderr}
			c := check{app: a, config: probe.EgressConfig{MaxGap: 2 * time.Second, Near: probe.NearAuto}, target: "several", screen: &checkLines{w: io.Discard}}
			err := c.run(t.Context(), test.endpoints)
			text := stdout.String()
			if err != nil {
				text += err.Error()
			}
			if text = strings.Join(strings.Fields(text), " "); exitStatus(err) != test.status || !strings.Contains(text, test.says) {
				t.Errorf("status %d, %s; want %d and %q", exitStatus(err), text, test.status, test.says)
			}
		})
	}
}

// TestReflectorCheckEndsEarly interrupts a check, and asks for more than a
// reflector grants.
func TestReflectorCheckEndsEarly(t *testing.T) {
	t.Parallel()
	address := startReflector(t)
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	got := natprobe(ctx, nil, "", "reflector", "check", "--quiet", "--max-gap", "40s", address)
	text := strings.Join(strings.Fields(got.stdout), " ")
	if got.status != exitInterrupted || !strings.Contains(text, "the check was interrupted") || !strings.Contains(text, "of 40 s") {
		t.Errorf("interrupted: status %d, stdout %q, stderr %q", got.status, got.stdout, got.stderr)
	}
	got = natprobe(t.Context(), nil, "", "reflector", "check", "--quiet", "--max-gap", "11m", address)
	if want := "choose a smaller --max-gap"; got.status != exitFailed || !strings.Contains(strings.Join(strings.Fields(got.stdout), " "), want) {
		t.Errorf("too long a gap: status %d, stdout %q, stderr %q; want %q", got.status, got.stdout, got.stderr, want)
	}
}

// TestReflectorCheckWithoutHopLimits checks from where packets can't be limited:
// what expires then may be this machine's side.
func TestReflectorCheckWithoutHopLimits(t *testing.T) {
	t.Parallel()
	c, got := checkReflector(t, "--lab", "nat:3s/4s,emulated", "--max-gap", "5s")
	e := c.Addresses[0].Egress
	if got.status != exitInconclusive || e.HopLimits || e.Verdict != results.EgressUndecided || e.ProvenS != 2 || e.KeptHops != 0 {
		t.Errorf("status %d, %+v", got.status, *e)
	}
	if len(c.Unknown) != 1 || !strings.Contains(c.Unknown[0], "can't send packets that die on the way") {
		t.Errorf("unknown %q", c.Unknown)
	}
}

// sampleCheck is a check of a reflector that advertises more than it should.
func sampleCheck() results.Check {
	yes, expired := true, 61.2
	return results.Check{
		Target: "vpn.example.org",
		Addresses: []results.CheckedAddress{{
			Address: "192.0.2.1:3478", Family: results.IPv4, Tried: true,
			Ports: []results.CheckedPort{
				{Address: "192.0.2.1:3478", STUN: true, Natprobe: true, RTTms: 12.34},
				{Address: "192.0.2.1:3479", Alternate: true, STUN: true, Natprobe: true, RTTms: 12.5},
			},
			Limits: &results.GrantedLimits{DelayS: 600, Copies: 10, Pending: 1024, PPS: 400},
			Egress: &results.Egress{
				Verdict: results.EgressShort, AskedS: 360, ProvenS: 59, AdvertisedS: 360, Translated: &yes, Hops: 11, KeptHops: 1, HopLimits: true,
				ExpiredS: &expired, ExpiredHop: 10, Clock: &results.Drift{PPM: 12.3, ErrorPPM: 1.5, GapS: 61},
			},
			RTTms: 12.2, Loss: results.Loss{Sent: 400, Lost: 4, Rate: 0.01, Upper95: 0.0227, Inbound: &results.Loss{Sent: 396, Upper95: 0.0075}},
		}},
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		change  func(*results.CheckedAddress)
		verdict results.CheckVerdict
		gap     float64
		says    []string
	}{
		{"advertises too much", func(*results.CheckedAddress) {}, results.CheckFails, 59,
			[]string{"at hop 10 of 11 from here, at the reflector's end", "advertises an egress gap of 360 s, which is more than is true"}},
		{"proven", func(a *results.CheckedAddress) {
			a.Egress.Verdict, a.Egress.ProvenS, a.Egress.ExpiredS = results.EgressProven, 360, nil
		}, results.CheckWorks, 360, nil},
		{"at this end", func(a *results.CheckedAddress) { a.Egress.Verdict, a.Egress.ExpiredHop = results.EgressUndecided, 3 },
			results.CheckUndecided, 59, []string{"--near 3"}},
		{"nowhere", func(a *results.CheckedAddress) { a.Egress.Verdict, a.Egress.ExpiredHop = results.EgressUndecided, 0 },
			results.CheckUndecided, 59, []string{"could not be told"}},
		{"too little", func(a *results.CheckedAddress) { a.Egress.Verdict, a.Egress.ExpiredS = results.EgressUndecided, nil },
			results.CheckUndecided, 59, []string{"could be judged"}},
		{"its clock is wrong", func(a *results.CheckedAddress) {
			a.Egress.Verdict, a.Egress.ProvenS, a.Egress.Clock.PPM = results.EgressProven, 360, -510
		}, results.CheckFails, 360, []string{"off by -510 parts in a million"}},
		{"its clock can't be told to be wrong", func(a *results.CheckedAddress) {
			a.Egress.Verdict, a.Egress.ProvenS, a.Egress.Clock.PPM, a.Egress.Clock.ErrorPPM = results.EgressProven, 360, -510, 11
		}, results.CheckWorks, 360, nil},
		{"too short a look at its clock", func(a *results.CheckedAddress) {
			a.Egress.Verdict, a.Egress.ProvenS, a.Egress.Clock.PPM, a.Egress.Clock.GapS = results.EgressProven, 360, -5100, 10
		}, results.CheckWorks, 360, nil},
	} {
		c := sampleCheck()
		test.change(&c.Addresses[0])
		judge(&c)
		if c.Verdict != test.verdict || c.EgressGapS != test.gap {
			t.Errorf("%s: %s, %v s; want %s, %v s", test.name, c.Verdict, c.EgressGapS, test.verdict, test.gap)
		}
		said := append(c.Problems, c.Unknown...)
		if len(said) != len(test.says) {
			t.Errorf("%s: says %q", test.name, said)
			continue
		}
		for i, want := range test.says {
			if !strings.Contains(said[i], want) {
				t.Errorf("%s: says %q, want %q", test.name, said[i], want)
			}
		}
	}
}

func TestCheckSummary(t *testing.T) {
	t.Parallel()
	c := sampleCheck()
	judge(&c)
	for _, width := range []int{80, 40} {
		var b strings.Builder
		writeCheck(&b, c, style{unicode: true, width: width})
		name := "check.summary"
		if width != 80 {
			name = "check." + strconv.Itoa(width)
		}
		golden(t, name, b.String())
	}
	c.Addresses[0].Egress.AdvertisedS, c.Addresses[0].Egress.ProvenS, c.Addresses[0].Egress.Verdict = 59, 59, results.EgressProven
	var b strings.Builder
	judge(&c)
	writeCheck(&b, c, style{unicode: true})
	if !strings.Contains(b.String(), "It advertises just that (--egress-gap 59s).") {
		t.Errorf("doesn't say that it advertises what is proven:\n%s", b.String())
	}
}
