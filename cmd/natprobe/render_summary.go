package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// summary is what a finished measurement shows on stdout.
type summary struct {
	Record results.Record
	// Truth holds the lab's timers in seconds; 0: never expires; nil outside
	// labs. Latest holds by when mappings are gone where that is later, for
	// some NATs are lazy; it may be nil.
	Truth, Latest map[results.Regime]float64
}

// writeSummary writes a measurement for a person: one sentence, the line to
// paste, then the details.
func writeSummary(w io.Writer, s summary, st style) {
	var b strings.Builder
	writeHeadline(&b, s.Record, st)
	writeLifetimes(&b, s, st)
	writeCause(&b, s.Record, st)
	writePath(&b, s.Record, st)
	if r := s.Record.Recommendation; r != nil {
		b.WriteString("\n")
		writeReasoning(&b, *r, st)
	}
	writeEvents(&b, s.Record.Events, st)
	writeEffort(&b, s.Record.Effort, st)
	// A person can't be told where telling fails.
	_, _ = io.WriteString(w, b.String())
}

func writeParagraph(b *strings.Builder, text string, st style) {
	for _, line := range wrap(text, st.text()) {
		b.WriteString(line + "\n")
	}
}

// heading starts a section.
func heading(b *strings.Builder, st style, text string) {
	for _, line := range wrap(text, st.text()) {
		b.WriteString(st.paint(sgrBold, line) + "\n")
	}
}

// incomplete is what the reader of an unfinished run has to know before
// anything else.
const incomplete = "This run is incomplete: it was interrupted, or its time ran out, before each lifetime was found. " +
	"What follows is what was known by then; a full run may allow a longer interval."

// writeHeadline writes what most people read only.
func writeHeadline(b *strings.Builder, record results.Record, st style) {
	r, say := record.Recommendation, func(text string) { writeParagraph(b, text, st) }
	verdict := ": set WireGuard's PersistentKeepalive to %d s."
	if !record.Complete {
		say(incomplete)
		b.WriteString("\n")
		say = func(text string) { writeParagraph(b, "So far, "+strings.ToLower(text[:1])+text[1:], st) }
		verdict = ": that is enough for a PersistentKeepalive of %d s."
	}
	switch {
	case r == nil:
		say(box(record) + " " + lives(record) + ".")
		b.WriteString("\n")
	case r.KeepaliveS == nil:
		say(r.Reason)
		if r.FallbackS == nil {
			b.WriteString("\n")
			break
		}
		b.WriteString("\nNot proven to hold here, only a fallback:\n")
		writeLine(b, *r.FallbackS, st)
	case r.Off:
		say(box(record) + " keeps no state that could expire: WireGuard's PersistentKeepalive can stay off.")
		writeLine(b, 0, st)
	default:
		say(box(record) + " " + lives(record) + fmt.Sprintf(verdict, *r.KeepaliveS))
		writeLine(b, *r.KeepaliveS, st)
		if *r.KeepaliveS < analysis.MaxKeepaliveS && record.Complete {
			writeUntried(b, record, st)
		}
	}
}

// writeUntried tells that the interval could be longer for all that is known:
// the mappings that it rests on outlived the longest silence that was tried.
func writeUntried(b *strings.Builder, record results.Record, st style) {
	for _, l := range record.Lifetimes {
		if l.Censored == results.CensoredRight && strings.HasPrefix(record.Recommendation.Basis, string(l.Regime)+":") {
			writeParagraph(b, fmt.Sprintf("A %s outlived the longest silence that was tried, %s s: with a larger --max a longer interval may turn out to hold.",
				meaning(l.Regime), lower(l.LowerS)), st)
			b.WriteString("\n")
			return
		}
	}
}

// writeLine writes the line to paste, alone between empty lines.
func writeLine(b *strings.Builder, keepalive int, st style) {
	fmt.Fprintf(b, "\n%s\n\n", st.paint(sgrBold+";"+sgrGreen, fmt.Sprintf("PersistentKeepalive = %d", keepalive)))
}

// box names what was measured. Outside a lab that is the whole path: one
// measurement can't tell whose timer was the shortest. Where it may be the
// reflector's own side, the path isn't called the reader's.
func box(r results.Record) string {
	if name, _ := r.Config["lab"].(string); name != "" {
		spec, err := natlab.Lookup(name)
		switch {
		case err == nil && onPath(r):
			return "The path to the reflector in lab " + name
		case err != nil: // a record of another version, or of anybody
			return "The network of lab " + strconv.QuoteToASCII(name)
		case r.Network.Mapping == "none":
			return "The network of lab " + name
		case len(spec.NATs) > 1:
			return fmt.Sprintf("The shortest of the %d NATs of lab %s", len(spec.NATs), name)
		default:
			return "The NAT of lab " + name
		}
	}
	none := ""
	if r.Network.Mapping == "none" {
		none = " (no address translation)"
	}
	if onPath(r) {
		return "The path to the reflector" + none
	}
	return "Your network's path" + none
}

// onPath reports whether the reflector's own side may have ended mappings.
func onPath(r results.Record) bool {
	return slices.ContainsFunc(r.Lifetimes, func(l results.Lifetime) bool { return l.Cause == results.CausePath })
}

// writeCause tells what is put down to the path, and why.
func writeCause(b *strings.Builder, r results.Record, st style) {
	if !onPath(r) {
		return
	}
	var which []string
	for _, l := range r.Lifetimes {
		if l.Cause == results.CausePath {
			which = append(which, string(l.Regime))
		}
	}
	b.WriteString("\n")
	proven := "The reflector doesn't say up to which gap its own side is proven to let packets out."
	if gap := r.Reflector.EgressGapS; gap > 0 {
		proven = fmt.Sprintf("The reflector's own side is proven to let packets out after up to %s s of silence, and no longer.", lower(gap))
	}
	writeParagraph(b, fmt.Sprintf("Put down to the path: %s. %s A firewall there may have ended these mappings, so they tell of the path to this reflector, "+
		"and of no NAT in particular; they have no place in a dataset of NATs.", strings.Join(which, ", "), proven), st)
}

// lives says how long mappings of a tunnel live.
func lives(r results.Record) string {
	exchange, stream := find(r, results.Exchange), find(r, results.Stream)
	switch {
	case exchange != nil && stream != nil && bracket(exchange.LowerS, exchange.UpperS) == bracket(stream.LowerS, stream.UpperS):
		return "keeps an idle tunnel open " + howLong(stream.LowerS, stream.UpperS)
	case exchange != nil && stream != nil:
		return fmt.Sprintf("keeps an idle tunnel open %s after its handshake and %s once it is in use",
			howLong(exchange.LowerS, exchange.UpperS), howLong(stream.LowerS, stream.UpperS))
	case len(r.Lifetimes) > 0:
		var all []string
		for _, l := range r.Lifetimes {
			all = append(all, fmt.Sprintf("%s (%s)", howLong(l.LowerS, l.UpperS), meaning(l.Regime)))
		}
		return "keeps an idle mapping open " + strings.Join(all, " and ")
	default:
		return "was not measured"
	}
}

func find(r results.Record, regime results.Regime) *results.Lifetime {
	for i := range r.Lifetimes {
		if r.Lifetimes[i].Regime == regime {
			return &r.Lifetimes[i]
		}
	}
	return nil
}

func writeLifetimes(b *strings.Builder, s summary, st style) {
	heading(b, st, "How long an idle mapping lives, by the traffic before its silence")
	t := table{header: true, align: []int{1, 1, 1, 1, -1, -1, -1}}
	t.row("regime", "traffic", "lifetime", "shape", "alive", "expired", "unclear")
	for _, l := range s.Record.Lifetimes {
		shape := string(l.Shape)
		switch {
		case l.LowerS <= 0 && l.UpperS == nil:
			shape = "–"
		case l.LowerS <= 0 || l.UpperS == nil:
			shape = "open"
		}
		t.row(string(l.Regime), meaning(l.Regime), bracket(l.LowerS, l.UpperS), shape,
			count(float64(l.Alive)), count(float64(l.Expired)), count(float64(l.Inconclusive)))
	}
	if t.width() > st.screen() {
		const traffic = 1 // the column that can be missed
		t.align = slices.Delete(t.align, traffic, traffic+1)
		for i := range t.rows {
			t.rows[i] = slices.Delete(t.rows[i], traffic, traffic+1)
		}
	}
	t.write(b, st)
	if s.Truth != nil {
		b.WriteString("\n")
		writeParagraph(b, truthText(s), st)
	}
}

// truthText compares the brackets with the lab's timers.
func truthText(s summary) string {
	var timers, missed []string
	for _, l := range s.Record.Lifetimes {
		t, known := s.Truth[l.Regime]
		if !known {
			continue
		}
		text, inside := "never", l.UpperS == nil
		if t > 0 {
			until := max(t, s.Latest[l.Regime])
			text = strconv.FormatFloat(t, 'f', -1, 64)
			if until > t {
				text += "–" + strconv.FormatFloat(until, 'f', -1, 64)
			}
			text += " s"
			inside = l.LowerS <= until && (l.UpperS == nil || t <= *l.UpperS)
		}
		timers = append(timers, string(l.Regime)+" "+text)
		if !inside {
			missed = append(missed, string(l.Regime))
		}
	}
	text := "The lab's own timers: " + strings.Join(timers, ", ") + ". "
	if len(missed) == 0 {
		return text + "Each is within what was measured."
	}
	return text + "WRONG here, not within what was measured: " + strings.Join(missed, ", ") + "."
}

func writePath(b *strings.Builder, r results.Record, st style) {
	b.WriteString("\n")
	var t table
	t.row("loss out", lossDetail(r.Loss))
	if r.Loss.Inbound != nil {
		t.row("loss in", lossDetail(*r.Loss.Inbound))
	}
	t.row("RTT", millis(r.Reflector.RTTms)+", the smallest seen")
	t.write(b, st)
}

func lossDetail(l results.Loss) string {
	if l.Sent == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%s (%s of %s packets), below %s with 95 %% confidence",
		percent(l.Rate), count(float64(l.Lost)), count(float64(l.Sent)), percent(l.Upper95))
}

func writeEvents(b *strings.Builder, events []results.Event, st style) {
	if len(events) == 0 {
		return
	}
	b.WriteString("\n")
	heading(b, st, "What happened meanwhile")
	var t table
	for _, e := range events {
		text := e.Detail
		if text == "" {
			text = string(e.Reason)
		}
		if e.Voided > 0 {
			text += fmt.Sprintf("; %s void", plural(e.Voided, "trial"))
		}
		t.row("at "+duration(seconds(e.AtS)), text)
	}
	t.write(b, st)
}

func writeEffort(b *strings.Builder, e results.Effort, st style) {
	b.WriteString("\n")
	text := fmt.Sprintf("Took %s", duration(seconds(e.ElapsedS)))
	if e.FirstBracketS > 0 {
		text += fmt.Sprintf(" (the last bracket stood after %s)", duration(seconds(e.FirstBracketS)))
	}
	writeParagraph(b, fmt.Sprintf("%s: at most %s at a time, %s sent (%s), %s received, %s.",
		text, plural(e.MaxMappings, "mapping"), plural(e.PacketsSent, "packet"), size(float64(e.BytesSent)),
		count(float64(e.PacketsRecv)), plural(e.Rounds, "round")), st)
}
