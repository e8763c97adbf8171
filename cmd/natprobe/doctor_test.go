package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/vpn/network"
)

// healthyFacts is a machine behind a home router, with nothing wrong.
func healthyFacts() facts {
	reflector := netip.MustParseAddr("198.51.100.7")
	local := netip.MustParseAddr("192.168.1.20")
	return facts{
		Reflector: reflectorFact{
			Name: "vpn.example.org", Named: true, Addrs: []netip.Addr{reflector},
			Answers: []answerFact{{To: netip.AddrPortFrom(reflector, 3478), Local: local, Mapped: netip.MustParseAddrPort("203.0.113.5:40000"), RTT: 23400 * time.Microsecond}},
		},
		Paths:     []pathFact{{To: reflector, Reflector: true, Interface: "eth0", Gateway: netip.MustParseAddr("192.168.1.1"), Local: local}},
		Conntrack: conntrackFact{Idle: 30 * time.Second, Stream: 120 * time.Second, Count: 100, Max: 65536},
		Router:    routerFact{Outer: netip.MustParseAddr("203.0.113.5")},
		Clock:     clockFact{Synchronised: true},
		IPv6:      ipv6Fact{Route: network.ErrOffline},
		Files:     filesFact{Limit: 1024, Flows: 400},
		Places:    []placeFact{{What: "source ports", Path: "/c/ports.json"}},
		Tunnels:   tunnelsFact{Admin: true},
	}
}

// TestExamine shows what makes which finding.
func TestExamine(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("read: %w", &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNREFUSED)})
	v6 := netip.MustParseAddr("2001:db8::7")
	dropping := filterChain{Family: "inet", Table: "filter", Name: "input", Stateful: true}
	shut := dropping
	shut.Stateful = false
	spares := dropping
	spares.Spares = true
	old := filterChain{Family: "ip", Table: "filter", Name: "INPUT", Stateful: true}
	answer := func(change func(*answerFact)) func(*facts) {
		return func(f *facts) { change(&f.Reflector.Answers[0]) }
	}
	firewall := func(chains ...filterChain) func(*facts) {
		return func(f *facts) { f.Firewall.Chains = chains }
	}
	path := func(change func(*pathFact)) func(*facts) {
		return func(f *facts) { change(&f.Paths[0]) }
	}
	tests := []struct {
		name   string
		change func(*facts)
		check  string
		status verdict
		says   []string // parts of what was seen and what to do
	}{
		{"answers", nil, "reflector", verdictOK, []string{"vpn.example.org (198.51.100.7:3478) answers in 23.4 ms"}},
		{"none named", func(f *facts) { f.Reflector = reflectorFact{} }, "reflector", verdictWarn, []string{"none is named", "--reflector, NATPROBE_REFLECTOR or the configuration file"}},
		{"no such name", func(f *facts) { f.Reflector = reflectorFact{Name: "x", Err: errUnresolved} }, "reflector", verdictProblem, []string{"no such reflector"}},
		{"no route to it", func(f *facts) { f.Reflector.Answers = nil }, "reflector", verdictProblem, []string{"no route to vpn.example.org"}},
		{"nothing listens", answer(func(a *answerFact) { a.Err = refused }), "reflector", verdictProblem, []string{"nothing listens at that port", `start "natprobe reflector" there`}},
		{"silent", answer(func(a *answerFact) { a.Err = errSilent }), "reflector", verdictProblem, []string{"no answer", "UDP port 3478"}},

		{"plain path", nil, "path", verdictOK, []string{"to the reflector (IPv4) by eth0 and 192.168.1.1, no tunnel"}},
		{"wireguard", path(func(p *pathFact) { p.Interface, p.Kind = "home", "wireguard" }), "path", verdictProblem, []string{"by home", "a tunnel (wireguard)", "take the VPN down"}},
		{"own tunnel", func(f *facts) {
			f.OwnTunnels = []string{"wg0"}
			f.Paths[0].Interface, f.Paths[0].Kind = "wg0", "tuntap"
		}, "path", verdictProblem, []string{"a tunnel of natprobe itself", "natprobe down wg0"}},
		{"own tunnel elsewhere", func(f *facts) { f.OwnTunnels = []string{"wg0"} }, "path", verdictOK, []string{"eth0"}},
		{"ppp", path(func(p *pathFact) { p.Interface, p.Kind = "ppp0", "ppp" }), "path", verdictWarn, []string{"PPP", "DSL"}},
		{"offline", path(func(p *pathFact) { p.Err = network.ErrOffline }), "path", verdictProblem, []string{"no way to the reflector (IPv4)", "go online"}},
		{"no IPv4 way, but IPv6", func(f *facts) {
			f.Paths = []pathFact{{To: netip.MustParseAddr("192.0.2.1"), Err: network.ErrOffline}, {To: v6, Reflector: true, Interface: "eth0"}}
		}, "path", verdictOK, []string{"no way to the Internet (IPv4)"}},
		{"no way at all", path(func(p *pathFact) { p.Reflector, p.Err = false, network.ErrOffline }), "path", verdictProblem, []string{"no way to the Internet (IPv4)"}},
		{"no IPv6 way", path(func(p *pathFact) { p.To, p.Reflector, p.Err = v6, false, network.ErrOffline }), "path", verdictOK, []string{"no way to the Internet (IPv6)"}},

		{"open", nil, "firewall", verdictOK, []string{"nothing on this machine drops"}},
		{"stateful, usual timers", firewall(dropping), "firewall", verdictWarn, []string{
			"inet filter input drops", "after 30 s, one in use after 2 m: longer lifetimes can't be seen", "nft insert rule inet filter input ip saddr 198.51.100.7 udp sport 3478 accept",
		}},
		{"stateful, short timer", func(f *facts) { f.Firewall.Chains, f.Conntrack.Idle = []filterChain{dropping}, 6*time.Second }, "firewall", verdictProblem, []string{"after 6 s, one in use after 2 m"}},
		{"stateful, short timer in use", func(f *facts) { f.Firewall.Chains, f.Conntrack.Stream = []filterChain{dropping}, 60*time.Second }, "firewall", verdictProblem, []string{"one in use after 1 m"}},
		{"stateful, long timers", func(f *facts) { f.Firewall.Chains, f.Conntrack.Stream = []filterChain{dropping}, 600*time.Second }, "firewall", verdictWarn, []string{"10 m"}},
		{"stateful, unknown timers", func(f *facts) {
			f.Firewall.Chains, f.Conntrack = []filterChain{dropping}, conntrackFact{Unknown: "no /proc"}
		}, "firewall", verdictWarn, []string{"its timers may be what is measured"}},
		{"short timers, nothing drops", func(f *facts) { f.Conntrack.Idle = time.Second }, "firewall", verdictOK, nil},
		{"stateful, spares the reflector", firewall(spares), "firewall", verdictOK, []string{"lets the reflector's packets in"}},
		{"one spares, another doesn't", firewall(spares, dropping), "firewall", verdictWarn, nil},
		{"closed", firewall(shut), "firewall", verdictProblem, []string{"knows no flows", "nft insert rule inet filter input"}},
		{"iptables", firewall(old), "firewall", verdictWarn, []string{"iptables -I INPUT -s 198.51.100.7 -p udp --sport 3478 -j ACCEPT"}},
		{"ip6tables without an address", firewall(filterChain{Family: "ip6", Table: "filter", Name: "INPUT", Stateful: true}), "firewall", verdictWarn, []string{"ip6tables -I INPUT -s REFLECTOR "}},
		{"iptables-legacy", func(f *facts) { f.Firewall.Legacy = true }, "firewall", verdictUnknown, []string{"old iptables"}},
		{"not root", func(f *facts) { f.Firewall = firewallFact{Unknown: "only root", Advice: "sudo"} }, "firewall", verdictUnknown, []string{"only root", "sudo"}},
		{"not root, but no state", func(f *facts) {
			f.Firewall, f.Conntrack = firewallFact{Unknown: "only root"}, conntrackFact{Absent: true}
		}, "firewall", verdictOK, []string{"keeps no state"}},

		{"room", nil, "flow table", verdictOK, []string{"100 of 65,536"}},
		{"nearly full", func(f *facts) { f.Conntrack.Count = 60000 }, "flow table", verdictProblem, []string{"60,000 of 65,536", "nf_conntrack_max"}},
		{"small", func(f *facts) { f.Conntrack.Max = 899 }, "flow table", verdictWarn, []string{"little room for the 400", "--gentle"}},
		{"just room", func(f *facts) { f.Conntrack.Max = 900 }, "flow table", verdictOK, nil},
		{"no table", func(f *facts) { f.Conntrack = conntrackFact{Absent: true} }, "flow table", verdictOK, nil},
		{"size not told", func(f *facts) { f.Conntrack.Max = 0 }, "flow table", verdictUnknown, nil},
		{"table unreadable", func(f *facts) { f.Conntrack = conntrackFact{Unknown: "no /proc"} }, "flow table", verdictUnknown, []string{"no /proc"}},

		{"one NAT", nil, "NAT", verdictOK, []string{"one: the router's outer address is the one that the reflector sees, 203.0.113.5"}},
		{"no NAT", answer(func(a *answerFact) { a.Local = a.Mapped.Addr() }), "NAT", verdictOK, []string{"none on the way"}},
		{"two NATs", func(f *facts) { f.Router.Outer = netip.MustParseAddr("192.168.0.2") }, "NAT", verdictWarn, []string{"two in a row", "192.168.0.2", "203.0.113.5"}},
		{"carrier behind the router", func(f *facts) { f.Router.Outer = netip.MustParseAddr("100.64.3.4") }, "NAT", verdictWarn, []string{"100.64.3.4, is a carrier's"}},
		{"carrier", func(f *facts) {
			f.Router.Unknown = "silent"
			f.Reflector.Answers[0].Local = netip.MustParseAddr("100.127.255.254")
		}, "NAT", verdictOK, []string{"100.127.255.254, is a carrier's"}},
		{"carrier without reflector", func(f *facts) {
			f.Reflector = reflectorFact{}
			f.Paths[0].Local = netip.MustParseAddr("100.64.0.1")
		}, "NAT", verdictOK, []string{"100.64.0.1, is a carrier's"}},
		{"reflector inside", answer(func(a *answerFact) { a.Mapped = netip.MustParseAddrPort("10.0.0.9:1") }), "NAT", verdictWarn, []string{"10.0.0.9", "no public address"}},
		{"router silent", func(f *facts) { f.Router.Unknown = "silent" }, "NAT", verdictUnknown, []string{"one or more", "silent", "203.0.113.5"}},
		{"no answer, no NAT seen", answer(func(a *answerFact) { a.Err = errSilent }), "NAT", verdictUnknown, nil},

		{"no IPv6", nil, "IPv6", verdictOK, []string{"only IPv4"}},
		{"IPv6", func(f *facts) {
			f.IPv6, f.Reflector.Addrs = ipv6Fact{Address: true}, append(f.Reflector.Addrs, v6)
		}, "IPv6", verdictOK, []string{"a global address and a way"}},
		{"IPv6, reflector without", func(f *facts) { f.IPv6 = ipv6Fact{Address: true} }, "IPv6", verdictOK, []string{"reflector has no IPv6 address"}},
		{"IPv6 without a way", func(f *facts) { f.IPv6.Address = true }, "IPv6", verdictWarn, []string{"no way to the Internet"}},
		{"IPv6 without an address", func(f *facts) { f.IPv6.Route = nil }, "IPv6", verdictWarn, []string{"no global address"}},
		{"no IPv6, reflector has nothing else", func(f *facts) { f.Reflector.Addrs = []netip.Addr{v6} }, "IPv6", verdictProblem, []string{"no other address"}},
		{"IPv6 not told", func(f *facts) { f.IPv6 = ipv6Fact{Unknown: "no addresses"} }, "IPv6", verdictUnknown, nil},

		{"clock right", nil, "clock", verdictOK, []string{"is kept right"}},
		{"clock adrift", func(f *facts) { f.Clock.Synchronised = false }, "clock", verdictWarn, []string{"NTP"}},
		{"clock stepped back", func(f *facts) { f.Clock.Step = -time.Hour }, "clock", verdictWarn, []string{"moved by -3.6e+03 s"}},
		{"clock nudged", func(f *facts) { f.Clock.Step = 100 * time.Millisecond }, "clock", verdictOK, nil},
		{"slept", func(f *facts) { f.Clock.Slept = 90 * time.Second }, "clock", verdictOK, []string{"has slept for 1 m 30 s", "keep it awake"}},
		{"clock not told", func(f *facts) { f.Clock.SyncUnknown = "not allowed" }, "clock", verdictUnknown, []string{"not allowed"}},

		{"files enough", nil, "open files", verdictOK, []string{"may have 1,024, enough for 400"}},
		{"files few", func(f *facts) { f.Files.Limit = 256 }, "open files", verdictWarn, []string{"256, too few for 400 flows", "ulimit -n"}},
		{"files just enough", func(f *facts) { f.Files.Limit = 432 }, "open files", verdictOK, nil},
		{"files far too few", func(f *facts) { f.Files.Limit = 95 }, "open files", verdictProblem, []string{"too few even for the 64"}},
		{"files few, but gentle", func(f *facts) { f.Files = filesFact{Limit: 96, Flows: 64} }, "open files", verdictOK, nil},
		{"files not told", func(f *facts) { f.Files.Unknown = "no limits" }, "open files", verdictUnknown, nil},

		{"no socket", func(f *facts) { f.Socket = syscall.EPERM }, "sockets", verdictProblem, []string{"operation not permitted"}},
		{"sockets", nil, "sockets", verdictOK, nil},
		{"places", nil, "files", verdictOK, []string{"source ports in /c/ports.json"}},
		{"a place shut", func(f *facts) { f.Places[0].Err = syscall.EROFS }, "files", verdictWarn, []string{"source ports: read-only file system"}},

		{"root", nil, "privileges", verdictOK, []string{"enough for tunnels"}},
		{"no root", func(f *facts) { f.Tunnels = tunnelsFact{Device: errors.New("shut")} }, "privileges", verdictOK, []string{"up and apply need root"}},
		{"no TUN", func(f *facts) { f.Tunnels.Device = errors.New("no such device") }, "privileges", verdictWarn, []string{"no such device", "modprobe tun"}},
		{"privileges not told", func(f *facts) { f.Tunnels.Unknown = "no capabilities" }, "privileges", verdictUnknown, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts()
			if tt.change != nil {
				tt.change(&f)
			}
			findings := examine(f)
			i := slices.IndexFunc(findings, func(f finding) bool { return f.Check == tt.check })
			if i < 0 {
				t.Fatalf("no finding for %s: %+v", tt.check, findings)
			}
			got := findings[i]
			if got.Status != tt.status {
				t.Errorf("%s, want %s: %+v", got.Status, tt.status, got)
			}
			for _, part := range tt.says {
				if !strings.Contains(got.Seen+"\n"+got.Advice, part) {
					t.Errorf("%+v doesn't say %q", got, part)
				}
			}
			if bad := got.Status == verdictWarn || got.Status == verdictProblem; bad && got.Advice == "" && got.Check != "reflector" {
				t.Errorf("%+v doesn't say what to do", got)
			}
		})
	}
}

// TestHealthy: a machine with nothing wrong has no finding but ok.
func TestHealthy(t *testing.T) {
	t.Parallel()
	findings := examine(healthyFacts())
	if n := tally(findings); n[verdictOK] != len(findings) || len(findings) < 10 {
		t.Errorf("%d findings: %+v", len(findings), findings)
	}
	if got, want := diagnosis(findings), "Nothing here would spoil a measurement."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWriteFindings(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	err := writeFindings(&b, []finding{
		{"path", verdictOK, "by eth0", ""},
		{"firewall", verdictProblem, "it drops what belongs to no known flow, after six seconds already", "let it in, by a rule of its own that knows no state"},
		{"clock", verdictUnknown, "not told", ""},
	}, style{unicode: true, width: 60})
	want := `  ok       path      by eth0
  problem  firewall  it drops what belongs to no known flow,
                     after six seconds already
                     → let it in, by a rule of its own that
                       knows no state
  unknown  clock     not told

1 problem, 1 unknown; 1 ok.
`
	if diff := cmp.Diff(want, b.String()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestDoctor runs the verb against reflectors on loopback. What it finds of the
// machine itself is not this test's business.
func TestDoctor(t *testing.T) {
	t.Parallel()
	reflector := startReflector(t)
	silent := udpSocket(t).LocalAddr().String()
	gone := udpSocket(t)
	closed := gone.LocalAddr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "config.yaml", "reflector: "+reflector+"\n")
	for _, tt := range []struct {
		name   string
		args   []string
		env    map[string]string
		status verdict
		says   string
	}{
		{"flag", []string{"--reflector", reflector}, nil, verdictOK, reflector + " answers in "},
		{"environment", nil, map[string]string{reflectorVariable: reflector}, verdictOK, reflector + " answers in "},
		{"configuration file", []string{"--config", file}, nil, verdictOK, reflector + " answers in "},
		{"nobody", nil, nil, verdictWarn, "none is named"},
		{"closed port", []string{"--reflector", closed}, nil, verdictProblem, "nothing listens"},
		{"silent port", []string{"--reflector", silent}, nil, verdictProblem, "no answer"},
		{"no such name", []string{"--reflector", "no-such-host.invalid"}, nil, verdictProblem, `"no-such-host.invalid" can't be resolved`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"doctor", "--json", "--run-dir", t.TempDir(), "--state-dir", t.TempDir()}, tt.args...)
			got := natprobe(t.Context(), tt.env, "", args...)
			var report doctorReport
			if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || report.Schema != schemaDoctor {
				t.Fatalf("%v: %+v", err, got)
			}
			i := slices.IndexFunc(report.Findings, func(f finding) bool { return f.Check == "reflector" })
			if i < 0 || report.Findings[i].Status != tt.status || !strings.Contains(report.Findings[i].Seen, tt.says) {
				t.Errorf("%+v, want %s and %q of the reflector", report.Findings, tt.status, tt.says)
			}
			want := exitDone
			if tally(report.Findings)[verdictProblem] > 0 {
				want = exitFailed
			}
			if got.status != want {
				t.Errorf("status %d, want %d; findings %+v", got.status, want, report.Findings)
			}
		})
	}
	if got := natprobe(t.Context(), nil, "", "doctor", "--reflector", "a:b:c"); got.status != exitUsage {
		t.Errorf("bad reflector: %+v", got)
	}
}

// TestAskRouter asks routers that answer in one way or another.
func TestAskRouter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		reply []byte // nil: none
		want  string // empty: unknown
	}{
		{"answer", []byte{0, 128, 0, 0, 0, 0, 0, 9, 192, 0, 2, 33}, "192.0.2.33"},
		{"not connected", []byte{0, 128, 0, 3, 0, 0, 0, 9, 0, 0, 0, 0}, ""},
		{"no address yet", []byte{0, 128, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0}, ""},
		{"PCP only", []byte{2, 128, 0, 1, 0, 0, 0, 9, 192, 0, 2, 33}, ""},
		{"short", []byte{0, 128, 0, 0, 0, 0}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			router := udpSocket(t)
			go func() {
				b := make([]byte, 64)
				for {
					n, from, err := router.ReadFrom(b)
					if err != nil {
						return
					}
					if n == 2 && b[0] == 0 && b[1] == 0 {
						_, _ = router.WriteTo(tt.reply, from) // who asked may have gone
					}
				}
			}()
			got := askRouter(t.Context(), netip.MustParseAddrPort(router.LocalAddr().String()))
			if tt.want == "" && got.Unknown == "" || tt.want != "" && (got.Unknown != "" || got.Outer.String() != tt.want) {
				t.Errorf("%+v, want %q", got, tt.want)
			}
		})
	}
}

// TestAskSTUN: strangers' datagrams are no answer.
func TestAskSTUN(t *testing.T) {
	t.Parallel()
	server := udpSocket(t)
	go func() {
		b := make([]byte, 64)
		_, from, err := server.ReadFrom(b)
		if err != nil {
			return
		}
		for _, reply := range [][]byte{[]byte("hello"), append([]byte{1, 1, 0, 0}, b[4:20]...)} {
			_, _ = server.WriteTo(reply, from)
		}
	}()
	a := answerFact{To: netip.MustParseAddrPort(server.LocalAddr().String())}
	askSTUN(t.Context(), &a)
	if a.Err == nil || !strings.Contains(a.Err.Error(), "no STUN server that says whom it sees") {
		t.Errorf("an answer without an address: %+v", a)
	}
}

func TestTunnelByName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"utun3": "tun", "wg0": "wireguard", "ppp0": "ppp", "tun": "tun", "tunnel": "", "eth0": "", "wgx": "", "en0": ""} {
		if got := tunnelByName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestOwnTunnels(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"wg0" + tunnelSocket, "wg1" + applySocket, "wg2.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := ownTunnels(dir); !slices.Equal(got, []string{"wg0"}) {
		t.Errorf("%v, want wg0", got)
	}
}

// TestFlowsInForce: the flows are those that measure would have.
func TestFlowsInForce(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 400, "flows: 100": 100, "gentle: true": 64, "gentle: true, flows: 80": 80} {
		root := (&app{}).root()
		settings, err := parseConfig("F", []byte("verbs: {measure: {"+text+"}}"), (&app{}).root())
		if err != nil {
			t.Fatal(err)
		}
		applySettings(root, settings, func(string) (string, bool) { return "", false })
		if got := flowsInForce(root); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}
