package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/natprobe/natprobe/results"
)

// writeRecommendation writes a recommendation for a person: one sentence, the
// line to paste, then the reasoning.
func writeRecommendation(w io.Writer, r results.Recommendation, color bool) {
	st := style{color: color, unicode: true}
	var b strings.Builder
	if r.KeepaliveS == nil {
		writeUndecided(&b, r, st)
	} else {
		writeParagraph(&b, r.Reason)
		writeLine(&b, *r.KeepaliveS, st)
	}
	writeReasoning(&b, r, st)
	// A person can't be told where telling fails.
	_, _ = io.WriteString(w, b.String())
}

// writeUndecided says why there is no recommendation, and what to do until
// there is one.
func writeUndecided(b *strings.Builder, r results.Recommendation, st style) {
	writeParagraph(b, r.Reason)
	if r.FallbackS == nil {
		b.WriteString("\n")
		return
	}
	b.WriteString("\nNot proven to hold here, only a fallback:\n")
	writeLine(b, *r.FallbackS, st)
}

// writeReasoning shows what a recommendation rests on.
func writeReasoning(b *strings.Builder, r results.Recommendation, st style) {
	var t table
	switch {
	case r.Off:
		heading(b, st, "Why it can stay off")
		t.row("basis", strings.TrimPrefix(r.Basis, "off: "))
		t.row("25 s would cost", costText(r.CostAt25)+" a day")
	case r.KeepaliveS == nil:
		// What is not known counts as 0 in the expected reachability: it would
		// say nothing here.
		heading(b, st, "What the fallback costs")
		t.row("a day", costText(r.CostPerDay))
		t.row("with 25 s", costText(r.CostAt25))
	default:
		heading(b, st, fmt.Sprintf("Why %d s", *r.KeepaliveS))
		t.row("binding rule", r.Basis)
		t.row("margin", lower(r.MarginS)+" s below the lifetime that binds")
		t.row("losses tolerated", lossesText(r.ToleratesLosses))
		t.row("reachable", fmt.Sprintf("%s of the time, expected", reachable(r.Reachability)))
		t.row("cost a day", costText(r.CostPerDay))
		if *r.KeepaliveS != 25 {
			t.row("25 s instead", fmt.Sprintf("reachable %s of the time;", reachable(r.ReachabilityAt25)))
			t.row("", costText(r.CostAt25)+" a day")
		}
	}
	t.write(b, style{})
	if len(r.Alternatives) == 0 {
		return
	}
	b.WriteString("\n")
	heading(b, st, "Alternatives")
	t = table{align: []int{1, -1}}
	for _, a := range r.Alternatives {
		text := fmt.Sprintf("reachable %s of the time, %s packets a day: %s", reachable(a.Reachability), count(a.CostPerDay.Packets), a.Why)
		for i, line := range wrap(text, textWidth-20) {
			name, interval := "", ""
			if i == 0 {
				name, interval = a.Name, fmt.Sprintf("%d s", a.KeepaliveS)
			}
			t.row(name, interval, line)
		}
	}
	t.write(b, style{})
}

func lossesText(n int) string {
	switch n {
	case 0:
		return "no keepalive may be lost"
	case 1:
		return "one keepalive may be lost"
	default:
		return fmt.Sprintf("%d keepalives in a row may be lost", n)
	}
}

func costText(c results.Cost) string {
	return fmt.Sprintf("%s packets, %s, %s wake-ups", count(c.Packets), size(c.Bytes), count(c.Wakeups))
}

// table aligns columns. Lines are indented by two spaces and end where their
// text ends.
type table struct {
	align []int // by column: negative is to the right; what is missing is to the left
	rows  [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table; its first row is a header where the style has
// colours.
func (t *table) write(b *strings.Builder, st style) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range t.rows {
		line := ""
		for i, cell := range row {
			width := widths[i]
			if i < len(t.align) && t.align[i] < 0 {
				width = -width
			}
			line += "  " + pad(cell, width)
		}
		line = strings.TrimRight(line, " ")
		if n == 0 {
			line = st.paint(sgrDim, line)
		}
		b.WriteString(line + "\n")
	}
}
