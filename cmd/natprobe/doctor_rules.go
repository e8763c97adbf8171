package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/vpn/network"
)

// verdict is how good or bad a finding is.
type verdict string

const (
	verdictOK      verdict = "ok"
	verdictWarn    verdict = "warn"    // a measurement may be spoiled, or tell less
	verdictProblem verdict = "problem" // it would fail, or tell about something else
	verdictUnknown verdict = "unknown"
)

// finding is one thing that doctor looked at.
type finding struct {
	Check  string  `json:"check"`
	Status verdict `json:"status"`
	Seen   string  `json:"seen"`
	Advice string  `json:"advice,omitempty"` // what to do
}

// examine judges what was seen, in the order in which a person would put it
// right.
func examine(f facts) []finding {
	findings := examineReflector(f.Reflector)
	online := slices.ContainsFunc(f.Paths, func(p pathFact) bool { return p.Err == nil })
	for _, p := range f.Paths {
		findings = append(findings, examinePath(p, f.OwnTunnels, online))
	}
	return append(findings,
		examineFirewall(f),
		examineTable(f),
		examineNAT(f),
		examineIPv6(f),
		examineClock(f.Clock),
		examineFiles(f.Files),
		examineSocket(f.Socket),
		examinePlaces(f.Places),
		examineTunnels(f.Tunnels),
	)
}

func examineReflector(r reflectorFact) []finding {
	const check = "reflector"
	switch {
	case r.Name == "":
		return []finding{{check, verdictWarn, "none is named, so nothing beyond this machine can be tried",
			"name one with --reflector, " + reflectorVariable + " or the configuration file; any machine with a public address can run \"natprobe reflector\""}}
	case r.Err != nil:
		return []finding{{check, verdictProblem, r.Err.Error(), ""}}
	case len(r.Answers) == 0:
		return []finding{{check, verdictProblem, fmt.Sprintf("this machine has no route to %s", r.Name), "go online"}}
	}
	var findings []finding
	for _, a := range r.Answers {
		name := a.To.String()
		if r.Named {
			name = fmt.Sprintf("%s (%s)", r.Name, name)
		}
		switch {
		case a.Err == nil:
			findings = append(findings, finding{check, verdictOK, fmt.Sprintf("%s answers in %s", name, roundTrip(a.RTT)), ""})
		case errors.Is(a.Err, syscall.ECONNREFUSED):
			findings = append(findings, finding{check, verdictProblem, name + ": nothing listens at that port",
				"start \"natprobe reflector\" there, or correct the port"})
		default:
			findings = append(findings, finding{check, verdictProblem, fmt.Sprintf("%s: %v", name, a.Err),
				fmt.Sprintf("does \"natprobe reflector\" run there, and do the firewalls let UDP port %d through?", a.To.Port())})
		}
	}
	return findings
}

func roundTrip(d time.Duration) string {
	return fmt.Sprintf("%.3g ms", d.Seconds()*1000)
}

// examinePath judges one way. online tells whether there is any.
func examinePath(p pathFact, own []string, online bool) finding {
	const check = "path"
	goal := "the Internet"
	if p.Reflector {
		goal = "the reflector"
	}
	goal += fmt.Sprintf(" (%s)", familyWord(familyOf(p.To)))
	way := fmt.Sprintf("to %s by %s", goal, p.Interface)
	if p.Gateway.IsValid() {
		way += fmt.Sprintf(" and %s", p.Gateway)
	}
	switch {
	case errors.Is(p.Err, network.ErrOffline) && !p.Reflector && (online || !p.To.Is4()):
		return finding{check, verdictOK, "no way to " + goal, ""} // one family will do
	case p.Err != nil:
		return finding{check, verdictProblem, fmt.Sprintf("no way to %s: %v", goal, p.Err), "go online"}
	case slices.Contains(own, p.Interface):
		return finding{check, verdictProblem, way + ", a tunnel of natprobe itself: what lies behind it would be measured, not this network",
			fmt.Sprintf("natprobe down %s, or leave the reflector out of its AllowedIPs", p.Interface)}
	case p.Kind == "ppp":
		return finding{check, verdictWarn, way + ", a link of PPP",
			"fine where it is the line itself (DSL, a modem); where it is a VPN, take it down: it would be measured, not this network"}
	case p.Kind != "":
		return finding{check, verdictProblem, fmt.Sprintf("%s, a tunnel (%s): what lies behind it would be measured, not this network", way, p.Kind),
			"take the VPN down while you measure, or leave the reflector's address out of it"}
	default:
		return finding{check, verdictOK, way + ", no tunnel", ""}
	}
}

// Linux's own timers for UDP, since 4.20. Shorter ones were set by somebody.
const (
	usualIdle   = 30 * time.Second
	usualStream = 120 * time.Second
)

func examineFirewall(f facts) finding {
	const check = "firewall"
	var stateful *filterChain
	spared, closed := false, ""
	for i, c := range f.Firewall.Chains {
		switch {
		case c.Spares:
			spared = true
		case c.Stateful:
			stateful = &f.Firewall.Chains[i]
		default:
			closed = c.title()
		}
	}
	track := f.Conntrack
	switch {
	case f.Firewall.Unknown != "" && track.Absent:
		return finding{check, verdictOK, "the kernel keeps no state of flows here", ""}
	case f.Firewall.Unknown != "":
		return finding{check, verdictUnknown, f.Firewall.Unknown, f.Firewall.Advice}
	case closed != "":
		return finding{check, verdictProblem, closed + " drops what no rule lets in, and knows no flows: answers don't come through",
			f.letIn(closed)}
	case stateful == nil && f.Firewall.Legacy:
		return finding{check, verdictUnknown, "there are rules of the old iptables, which can't be read from here", "look at them with: iptables-legacy -S INPUT"}
	case stateful == nil && spared:
		return finding{check, verdictOK, "it lets the reflector's packets in without regard to state", ""}
	case stateful == nil:
		return finding{check, verdictOK, "nothing on this machine drops what comes in without a known flow", ""}
	case track.Unknown != "" || track.Absent:
		return finding{check, verdictWarn, stateful.title() + " drops what belongs to no known flow: its timers may be what is measured, not the router's",
			f.letIn(stateful.title())}
	case track.Idle < usualIdle || track.Stream < usualStream:
		return finding{check, verdictProblem, fmt.Sprintf("%s drops what belongs to no known flow, and this machine forgets a UDP flow after %s, one in use after %s, "+
			"less than Linux's usual %s and %s: that would be measured, not the router", stateful.title(),
			duration(track.Idle), duration(track.Stream), duration(usualIdle), duration(usualStream)), f.letIn(stateful.title())}
	default:
		return finding{check, verdictWarn, fmt.Sprintf("%s drops what belongs to no known flow, and this machine forgets a UDP flow after %s, one in use after %s: "+
			"longer lifetimes can't be seen", stateful.title(), duration(track.Idle), duration(track.Stream)), f.letIn(stateful.title())}
	}
}

func (c filterChain) title() string {
	return strings.Join([]string{c.Family, c.Table, c.Name}, " ")
}

// letIn tells how to let the reflector's packets in without state.
func (f facts) letIn(chain string) string {
	const why = "let the reflector's packets in without state while you measure"
	command, version, option := "iptables", "ip", "saddr"
	addr, port := "REFLECTOR", uint16(defaultPort)
	for _, a := range f.Reflector.Answers {
		if a.To.Addr().Is6() && strings.HasPrefix(chain, "ip ") || a.To.Addr().Is4() && strings.HasPrefix(chain, "ip6 ") {
			continue
		}
		addr, port = a.To.Addr().String(), a.To.Port()
		if a.To.Addr().Is6() {
			version = "ip6"
		}
		break
	}
	switch {
	case strings.HasSuffix(chain, " filter INPUT"):
		if strings.HasPrefix(chain, "ip6 ") {
			command = "ip6tables"
		}
		return fmt.Sprintf("%s: %s -I INPUT -s %s -p udp --sport %d -j ACCEPT", why, command, addr, port)
	default:
		return fmt.Sprintf("%s: nft insert rule %s %s %s %s udp sport %d accept", why, chain, version, option, addr, port)
	}
}

// fullTable is the share of its table from which the kernel is near to dropping
// flows.
const fullTable = 0.9

func examineTable(f facts) finding {
	const check = "flow table"
	t := f.Conntrack
	seen := fmt.Sprintf("%s of %s flows that the kernel has room for", count(float64(t.Count)), count(float64(t.Max)))
	const advice = "end what makes so many flows, or make room as root: sysctl net.netfilter.nf_conntrack_max=N"
	switch {
	case t.Unknown != "":
		return finding{check, verdictUnknown, t.Unknown, ""}
	case t.Absent:
		return finding{check, verdictOK, "the kernel keeps none here", ""}
	case t.Max <= 0:
		return finding{check, verdictUnknown, "how many flows the kernel has room for is not told", ""}
	case float64(t.Count) >= fullTable*float64(t.Max):
		return finding{check, verdictProblem, seen + ": it will drop others", advice}
	case t.Max-t.Count < 2*f.Files.Flows:
		return finding{check, verdictWarn, fmt.Sprintf("%s: little room for the %d of a measurement", seen, f.Files.Flows), advice + "; or measure with --gentle"}
	default:
		return finding{check, verdictOK, seen, ""}
	}
}

// ofCarrier tells whether an address is a carrier's, behind its NAT (RFC 6598).
func ofCarrier(addr netip.Addr) bool { return netip.MustParsePrefix("100.64.0.0/10").Contains(addr) }

// inside tells whether an address is not of the public Internet.
func inside(addr netip.Addr) bool {
	return addr.IsPrivate() || ofCarrier(addr) || addr.IsLoopback() || addr.IsLinkLocalUnicast()
}

func examineNAT(f facts) finding {
	const check = "NAT"
	const both = "the shorter timer of the two is measured, at whichever it is"
	var answer *answerFact
	for i, a := range f.Reflector.Answers {
		if a.Err == nil && a.To.Addr().Is4() {
			answer = &f.Reflector.Answers[i]
		}
	}
	if answer == nil {
		for _, p := range f.Paths {
			if ofCarrier(p.Local) {
				return finding{check, verdictOK, fmt.Sprintf("the address here, %s, is a carrier's: its NAT is on the way", p.Local), ""}
			}
		}
		return finding{check, verdictUnknown, "how many there are only a reflector's answer over IPv4 tells", ""}
	}
	mapped := answer.Mapped.Addr()
	sees := fmt.Sprintf("the reflector sees %s", mapped)
	switch outer := f.Router.Outer; {
	case mapped == answer.Local:
		return finding{check, verdictOK, "none on the way to the reflector", ""}
	case inside(mapped):
		return finding{check, verdictWarn, sees + ", which is no public address: the reflector is inside, and the way to the Internet is not what is measured",
			"use a reflector with a public address"}
	case f.Router.Unknown == "" && outer == mapped:
		return finding{check, verdictOK, fmt.Sprintf("one: the router's outer address is the one that the reflector sees, %s", mapped), ""}
	case f.Router.Unknown == "" && ofCarrier(outer):
		return finding{check, verdictWarn, fmt.Sprintf("two in a row: the router's outer address, %s, is a carrier's, and %s", outer, sees), both}
	case f.Router.Unknown == "":
		return finding{check, verdictWarn, fmt.Sprintf("two in a row: the router's outer address is %s, and %s", outer, sees), both}
	case ofCarrier(answer.Local):
		return finding{check, verdictOK, fmt.Sprintf("the address here, %s, is a carrier's: its NAT is on the way, and %s", answer.Local, sees), ""}
	default:
		return finding{check, verdictUnknown, fmt.Sprintf("one or more: %s; %s", sees, f.Router.Unknown),
			fmt.Sprintf("look at the router's own page: if its Internet address isn't %s, there is a second NAT", mapped)}
	}
}

func examineIPv6(f facts) finding {
	const check = "IPv6"
	with := slices.ContainsFunc(f.Reflector.Addrs, netip.Addr.Is6)
	without := slices.ContainsFunc(f.Reflector.Addrs, netip.Addr.Is4)
	routed := f.IPv6.Route == nil
	switch {
	case f.IPv6.Unknown != "":
		return finding{check, verdictUnknown, f.IPv6.Unknown, ""}
	case f.IPv6.Address && !routed:
		return finding{check, verdictWarn, fmt.Sprintf("there is a global address, but no way to the Internet: %v", f.IPv6.Route),
			"programs try it first, and wait; see to the router's announcements, or measure with --family ipv4"}
	case !routed && with && !without:
		return finding{check, verdictProblem, "none here, and the reflector has no other address", "use a reflector with an IPv4 address"}
	case !routed:
		return finding{check, verdictOK, "none here: only IPv4 can be measured", ""}
	case !f.IPv6.Address:
		return finding{check, verdictWarn, "there is a way to the Internet, but no global address: without a NAT for IPv6 answers find no way back",
			"see to the router's announcements, or measure with --family ipv4"}
	case f.Reflector.Name != "" && f.Reflector.Err == nil && !with:
		return finding{check, verdictOK, "it is there, but the reflector has no IPv6 address: only IPv4 can be measured", ""}
	default:
		return finding{check, verdictOK, "a global address and a way to the Internet", ""}
	}
}

// bigStep is how far the wall clock may move by itself while doctor runs, a few
// seconds.
const bigStep = 250 * time.Millisecond

func examineClock(c clockFact) finding {
	const check = "clock"
	slept := ""
	if c.Slept >= time.Second {
		slept = fmt.Sprintf("; the machine has slept for %s since its start: keep it awake, what a sleep touches is measured again", duration(c.Slept))
	}
	switch {
	case c.Step.Abs() > bigStep:
		return finding{check, verdictWarn, fmt.Sprintf("the time of day was moved by %.3g s just now%s", c.Step.Seconds(), slept),
			"lifetimes don't use it, but the record's times do: wait until it is right"}
	case c.SyncUnknown != "":
		return finding{check, verdictUnknown, c.SyncUnknown + slept, ""}
	case !c.Synchronised:
		return finding{check, verdictWarn, "nothing keeps the time of day right" + slept,
			"lifetimes don't use it, but the record's times do: run an NTP client, as systemd-timesyncd or chrony"}
	case c.SleptUnknown != "":
		return finding{check, verdictOK, "the time of day is kept right", ""}
	default:
		return finding{check, verdictOK, "the time of day is kept right" + slept, ""}
	}
}

// otherFiles is how many files a measurement has open besides its flows'
// sockets, at most.
const otherFiles = 32

func examineFiles(f filesFact) finding {
	const check = "open files"
	seen := fmt.Sprintf("this process may have %d", f.Limit)
	const advice = "raise the limit: ulimit -n 1024, or LimitNOFILE= of a service"
	switch {
	case f.Unknown != "":
		return finding{check, verdictUnknown, f.Unknown, ""}
	case f.Limit < probe.GentleFlows+otherFiles:
		return finding{check, verdictProblem, fmt.Sprintf("%s, too few even for the %d flows of --gentle", seen, probe.GentleFlows), advice}
	case f.Limit < uint64(max(f.Flows, 0)+otherFiles):
		return finding{check, verdictWarn, fmt.Sprintf("%s, too few for %d flows: a measurement goes on with fewer, and may take longer", seen, f.Flows), advice}
	default:
		return finding{check, verdictOK, fmt.Sprintf("%s, enough for %d flows", strings.Replace(seen, fmt.Sprint(f.Limit), count(float64(f.Limit)), 1), f.Flows), ""}
	}
}

func examineSocket(err error) finding {
	const check = "sockets"
	if err != nil {
		return finding{check, verdictProblem, fmt.Sprintf("no UDP socket can be opened: %v", err), "look at what confines this process: a sandbox, a security module, a limit"}
	}
	return finding{check, verdictOK, "UDP sockets can be opened", ""}
}

func examinePlaces(places []placeFact) finding {
	const check = "files"
	var bad, good []string
	for _, p := range places {
		if p.Err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", p.What, p.Err))
		} else {
			good = append(good, fmt.Sprintf("%s in %s", p.What, p.Path))
		}
	}
	if len(bad) > 0 {
		return finding{check, verdictWarn, "can't be written: " + strings.Join(bad, "; "),
			"make the folders writable: without them a run can't avoid the ports of the one before, and tunnels forget the networks that they know"}
	}
	return finding{check, verdictOK, "can be written: " + strings.Join(good, ", "), ""}
}

func examineTunnels(t tunnelsFact) finding {
	const check = "privileges"
	switch {
	case t.Unknown != "":
		return finding{check, verdictUnknown, t.Unknown, ""}
	case !t.Admin:
		return finding{check, verdictOK, "measuring needs none; up and apply need root", ""}
	case t.Device != nil:
		return finding{check, verdictWarn, fmt.Sprintf("up can't make tunnels: %v", t.Device), "load the kernel's module: modprobe tun; in a container, hand /dev/net/tun in"}
	default:
		return finding{check, verdictOK, "enough for tunnels, too", ""}
	}
}
