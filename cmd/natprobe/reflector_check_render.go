package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/results"
)

// checkLines writes a line when a check has something new, and now and then one
// that shows that it goes on. Addresses are checked at the same time.
type checkLines struct {
	w     io.Writer
	quiet bool

	mu   sync.Mutex
	told map[string]checkTold
}

// checkTold is what was told of an address.
type checkTold struct {
	last     time.Duration
	answered bool
	locating bool
	events   int
}

func (l *checkLines) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.quiet {
		_, _ = fmt.Fprintln(l.w, text) // a person can't be told where telling fails
	}
}

func (l *checkLines) progress(address string, p probe.EgressProgress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told[address]
	line := func(text string) {
		told.last = p.Elapsed
		if !l.quiet {
			_, _ = fmt.Fprintf(l.w, "%s  %s: %s\n", pad(duration(p.Elapsed), -8), address, text)
		}
	}
	for _, e := range p.Events[min(told.events, len(p.Events)):] {
		line(e.Detail)
	}
	told.events = len(p.Events)
	switch {
	case !p.Answered:
	case !told.answered:
		told.answered = true
		line("answers; waiting for what comes after silences")
	case p.Locating && !told.locating:
		told.locating = true
		line(fmt.Sprintf("nothing after %s s; looking for the box that forgets", upper(*p.Egress.ExpiredS)))
	case p.Elapsed-told.last >= heartbeat:
		line(fmt.Sprintf("proven up to %s so far", wholeSeconds(p.Egress.ProvenS)))
	}
	if l.told == nil {
		l.told = make(map[string]checkTold)
	}
	l.told[address] = told
}

// writeCheck writes the result for a person: what follows first.
func writeCheck(w io.Writer, c results.Check, st style) {
	var b strings.Builder
	writeParagraph(&b, checkVerdictText(c), st)
	for _, text := range c.Problems {
		b.WriteString("\n")
		writeParagraph(&b, text, st)
	}
	for _, text := range c.Unknown {
		b.WriteString("\n")
		writeParagraph(&b, text, st)
	}
	writeEgressFlag(&b, c, st)
	for _, a := range c.Addresses {
		writeCheckedAddress(&b, a, st)
	}
	// A person can't be told where telling fails.
	_, _ = io.WriteString(w, b.String())
}

// checkVerdictText is the sentence that most people read only.
func checkVerdictText(c results.Check) string {
	proven := ""
	if c.EgressGapS > 0 {
		proven = fmt.Sprintf(" Its side is proven to let packets out after silences up to %s.", wholeSeconds(c.EgressGapS))
	}
	switch c.Verdict {
	case results.CheckWorks:
		return fmt.Sprintf("The reflector %s works: all that was tried answers, and packets come out of its side after each silence up to %s.",
			c.Target, wholeSeconds(c.EgressGapS))
	case results.CheckFails:
		return fmt.Sprintf("The reflector %s doesn't work as it should.%s", c.Target, proven)
	default:
		return fmt.Sprintf("The reflector %s: nothing is wrong as far as could be judged, but not all could.%s", c.Target, proven)
	}
}

// writeEgressFlag tells what the reflector should advertise.
func writeEgressFlag(b *strings.Builder, c results.Check, st style) {
	asked, least := 0.0, math.Inf(1) // of what its addresses advertise
	same := true
	for _, a := range c.Addresses {
		if a.Egress != nil && a.Limits != nil {
			same = same && a.Egress.AdvertisedS == c.EgressGapS
			least = min(least, a.Egress.AdvertisedS)
			asked = max(asked, a.Egress.AskedS)
		}
	}
	b.WriteString("\n")
	switch {
	case c.EgressGapS <= 0:
		writeParagraph(b, "No egress gap is proven, so the reflector has none to advertise: run it without --egress-gap. "+
			"Probers then put every expiry down to the path.", st)
	case c.Verdict == results.CheckWorks && least > c.EgressGapS:
		writeParagraph(b, fmt.Sprintf("It advertises an egress gap of %s. This check tried no silence above %s.",
			wholeSeconds(least), wholeSeconds(asked)), st)
	case same:
		writeParagraph(b, fmt.Sprintf("It advertises just that (%s).", egressFlag(c.EgressGapS)), st)
	default:
		writeParagraph(b, fmt.Sprintf("Let the reflector advertise what is proven. Probers take what expires within %s for their own network's doing, "+
			"and put what expires later down to the path:", wholeSeconds(c.EgressGapS)), st)
		fmt.Fprintf(b, "\n%s\n", st.paint(sgrBold+";"+sgrGreen, "natprobe reflector "+egressFlag(c.EgressGapS)))
	}
	if c.Verdict == results.CheckWorks && asked < probe.DefaultEgressGap.Seconds() {
		b.WriteString("\n")
		writeParagraph(b, fmt.Sprintf("Probers try silences up to %s by default: a check without --quick and --max-gap proves as much.",
			wholeSeconds(probe.DefaultEgressGap.Seconds())), st)
	}
}

func writeCheckedAddress(b *strings.Builder, a results.CheckedAddress, st style) {
	b.WriteString("\n")
	heading(b, st, fmt.Sprintf("%s (%s)", a.Address, familyWord(string(a.Family))))
	var t table
	if !a.Tried {
		t.row("not tried", "no route from here")
	}
	other := false
	for _, p := range a.Ports {
		text := "answers STUN and natprobe"
		if !p.STUN || !p.Natprobe {
			text = "answers " + answers(p)
		}
		if p.RTTms > 0 {
			text += ", after " + millis(p.RTTms)
		}
		name := "port"
		if p.Alternate {
			name, text, other = "alternate", p.Address+" "+text, true
		}
		t.row(name, text)
	}
	if a.Tried && !other {
		t.row("alternate", "none: tests of NATs by RFC 5780 need a second address")
	}
	if l := a.Limits; l != nil {
		rate := "any number of packets a second"
		if l.PPS > 0 {
			rate = count(float64(l.PPS)) + " packets a second"
		}
		t.row("grants", fmt.Sprintf("delays up to %s, %s in a burst, %s pending, %s", duration(seconds(l.DelayS)),
			copies(l.Copies), plural(l.Pending, "order"), rate))
	}
	if e := a.Egress; e != nil && a.Limits != nil {
		writeEgress(&t, *e)
		t.row("loss out", lossDetail(a.Loss))
		if a.Loss.Inbound != nil {
			t.row("loss in", lossDetail(*a.Loss.Inbound))
		}
		t.row("RTT", millis(a.RTTms)+", the smallest seen")
	}
	t.write(b, st)
	writeEvents(b, a.Events, st)
}

func copies(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return fmt.Sprintf("%d copies", n)
}

func writeEgress(t *table, e results.Egress) {
	egress := fmt.Sprintf("proven up to %s of %s", wholeSeconds(e.ProvenS), wholeSeconds(e.AskedS))
	if e.ExpiredS != nil {
		egress += fmt.Sprintf("; nothing came out after %s s", upper(*e.ExpiredS))
	}
	t.row("egress", egress)
	advertised := "no egress gap"
	if e.AdvertisedS > 0 {
		advertised = "an egress gap of " + wholeSeconds(e.AdvertisedS)
	}
	t.row("advertises", advertised)
	if e.Hops > 0 {
		path := plural(e.Hops, "hop") + " away"
		switch {
		case e.Translated == nil:
		case *e.Translated:
			path += ", behind a NAT"
		default:
			path += ", no NAT between"
		}
		if e.KeptHops > 0 {
			path += fmt.Sprintf("; kept open meanwhile up to hop %d: the proof is for what is beyond", e.KeptHops)
		} else {
			path += "; nothing was sent meanwhile: the proof is for the whole path"
		}
		t.row("path", path)
	}
	if c := e.Clock; c != nil {
		t.row("clock", fmt.Sprintf("%+.1f ± %.1f parts in a million against this machine's, over %s s", c.PPM, c.ErrorPPM, lower(c.GapS)))
	}
}
