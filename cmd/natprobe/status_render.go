package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// writeStatus writes what a process says of itself for a person.
func writeStatus(w io.Writer, s runningStatus, st style) {
	var b strings.Builder
	what := "tunnel"
	if s.Does != "tunnel" {
		what = "existing interface"
	}
	more := ""
	if s.Reflects {
		more = ", helps its peers to measure"
	}
	b.WriteString(st.paint(sgrBold, s.Interface) + fmt.Sprintf(": %s, for %s%s, process %d\n", what, age(s.Since), more, s.PID))
	if s.Trouble != "" {
		writeParagraph(&b, "Its peers are not known: "+s.Trouble, st)
	}
	writePeers(&b, s.Peers, st)
	if s.Tuner == nil {
		b.WriteString("\n")
		writeParagraph(&b, "No keepalive is to be chosen: the file asks for none with \"auto\".", st)
	} else {
		for _, p := range s.Tuner.Paths {
			b.WriteString("\n")
			writeTunedPath(&b, p, st)
		}
		writeChanges(&b, s.Tuner.Changes, st)
	}
	for _, warning := range s.Warnings {
		b.WriteString("\n")
		writeParagraph(&b, st.paint(sgrYellow, "Warning: ")+warning, st)
	}
	b.WriteString("\n")
	// A person can't be told where telling fails.
	_, _ = io.WriteString(w, b.String())
}

func writePeers(b *strings.Builder, peers []peerRow, st style) {
	if len(peers) == 0 {
		return
	}
	b.WriteString("\n")
	t := table{header: true, align: []int{1, 1, -1, 1, -1, -1}}
	t.row("peer", "endpoint", "keepalive", "last handshake", "received", "sent")
	for _, p := range peers {
		keepalive, handshake, endpoint := "off", "never", p.Endpoint
		if p.KeepaliveS > 0 {
			keepalive = fmt.Sprintf("%d s", p.KeepaliveS)
		}
		if p.Tuned {
			keepalive += ", tuned"
		}
		if p.LastHandshake != nil {
			handshake = age(*p.LastHandshake) + " ago"
		}
		if endpoint == "" {
			endpoint = "–"
		}
		t.row(p.PublicKey.String()[:8]+"…", endpoint, keepalive, handshake, size(float64(p.Received)), size(float64(p.Sent)))
	}
	t.write(b, st)
}

// writeTunedPath says what is known of one path and what is done there.
func writeTunedPath(b *strings.Builder, p tuner.PathStatus, st style) {
	if p.Phase == tuner.PhaseWaiting || p.Phase == tuner.PhaseOffline {
		writeParagraph(b, fmt.Sprintf("%s: %s.", familyWord(string(p.Family)), p.Phase), st)
		return
	}
	t := table{}
	t.row("network", p.Network+" ("+familyWord(string(p.Family))+")")
	t.row("keepalive", interval(p.IntervalS))
	t.row("why", p.Why)
	for _, l := range p.Lifetimes {
		t.row("lifetime", fmt.Sprintf("%s, %s (%s)", bracket(l.LowerS, l.UpperS), meaning(l.Regime), l.Regime))
	}
	if r := p.Recommendation; r != nil && p.MeasuredAt != nil {
		t.row("saves", savings(*r))
		t.row("reachable", reachable(r.Reachability)+" of the time expected")
	}
	if p.MeasuredAt != nil {
		t.row("measured", age(*p.MeasuredAt)+" ago")
	}
	if p.VerifiedAt != nil {
		t.row("last tried", age(*p.VerifiedAt)+" ago: it held")
	}
	t.row("now", string(p.Phase))
	if p.Trouble != "" {
		t.row("trouble", p.Trouble)
	}
	if p.NextAt != nil {
		t.row("next", fmt.Sprintf("%s in %s", p.Next, duration(max(time.Until(*p.NextAt), 0))))
	}
	t.write(b, st)
}

func interval(seconds int) string {
	if seconds == 0 {
		return "off"
	}
	return fmt.Sprintf("%d s", seconds)
}

// savings compares what an interval costs with the usual 25 s.
func savings(r results.Recommendation) string {
	now, usual := r.CostPerDay, r.CostAt25
	if usual.Packets <= 0 {
		return "not known"
	}
	switch change := (usual.Packets - now.Packets) / usual.Packets; {
	case change > 0.005:
		return fmt.Sprintf("%s of %s packets a day that 25 s would take (%.0f %%)", count(usual.Packets-now.Packets), count(usual.Packets), 100*change)
	case change < -0.005:
		return fmt.Sprintf("nothing: %s packets a day more than 25 s, with which peers would reach you %s of the time",
			count(now.Packets-usual.Packets), reachable(r.ReachabilityAt25))
	default:
		return "nothing: as many packets as 25 s"
	}
}

// shownChanges is how many of the last changes a page has room for.
const shownChanges = 5

func writeChanges(b *strings.Builder, changes []tuner.Change, st style) {
	if len(changes) == 0 {
		return
	}
	b.WriteString("\n")
	heading(b, st, "Last changes")
	t := table{}
	for _, c := range changes[max(0, len(changes)-shownChanges):] {
		t.row(c.At.Local().Format("2006-01-02 15:04:05"), interval(c.IntervalS), c.Reason)
	}
	t.write(b, st)
}

// age writes how long ago something was.
func age(at time.Time) string {
	switch d := time.Since(at); {
	case d < time.Hour:
		return duration(max(d, 0))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
