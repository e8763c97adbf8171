package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/natprobe/natprobe/probe"
)

const (
	// nameWidth is that of the longest regime's name and a space.
	nameWidth = 9
	// knownWidth is that of a bracket, with its sign that it stands.
	knownWidth = 14
	// minAxis is the narrowest axis that still tells something.
	minAxis = 16
	// maxAxis is enough for a rung a cell; wider says no more.
	maxAxis = 120
)

// ticks are the labels of the axis, in seconds; the first get room first.
var ticks = []int{1, 10, 60, 300, 30, 2, 120, 5, 20, 600, 1200, 3600}

// part is text in one colour.
type part struct{ sgr, text string }

// frameLine is one line of a frame.
type frameLine []part

func (l frameLine) width() int {
	n := 0
	for _, p := range l {
		n += utf8.RuneCountInString(p.text)
	}
	return n
}

func (l frameLine) paint(s style) string {
	var b strings.Builder
	for _, p := range l {
		b.WriteString(s.paint(p.sgr, p.text))
	}
	return b.String()
}

// cut shortens a line to a width, so that it can't fold.
func (l frameLine) cut(width int) frameLine {
	var short frameLine
	for _, p := range l {
		runes := []rune(p.text)
		if len(runes) >= width {
			return append(short, part{p.sgr, string(runes[:max(width, 0)])})
		}
		width -= len(runes)
		short = append(short, p)
	}
	return short
}

// mark is how a cell of the axis looks.
type mark struct {
	sgr            string
	unicode, ascii string
	meaning        string
}

var marks = map[probe.RungState]mark{
	probe.RungAlive:        {sgrGreen, "●", "o", "alive"},
	probe.RungPending:      {sgrYellow, "◌", "-", "waiting"},
	probe.RungExpired:      {sgrRed, "✕", "x", "expired"},
	probe.RungInconclusive: {sgrCyan, "?", "?", "inconclusive"},
	probe.RungUnsent:       {sgrDim, "·", ".", "not tried"},
}

// legend is the order in which marks are explained.
var legend = []probe.RungState{probe.RungAlive, probe.RungPending, probe.RungExpired, probe.RungInconclusive, probe.RungUnsent}

// rank decides which of several rungs in one cell is shown: what ends a
// lifetime before what is open, and what is open before what is done.
var rank = map[probe.RungState]int{
	probe.RungUnsent: 0, probe.RungInconclusive: 1, probe.RungAlive: 2, probe.RungPending: 3, probe.RungExpired: 4,
}

func (m mark) text(s style) string {
	if s.unicode {
		return m.unicode
	}
	return m.ascii
}

// frame draws a snapshot for a screen of a width in characters, the last one
// where the run has ended. The lines that matter most come first.
func frame(p probe.Progress, ended bool, width int, s style) []frameLine {
	lines := statusLines(p, ended, width)
	axis := min(width-nameWidth-knownWidth-1, maxAxis)
	if axis >= minAxis {
		scale := newScale(p.Regimes, axis)
		lines = append(lines, frameLine{{sgrDim, pad("", nameWidth) + scale.labels(knownWidth)}})
		for _, r := range p.Regimes {
			line := frameLine{{"", pad(string(r.Regime), nameWidth)}}
			line = append(line, scale.cells(r.Rungs, s)...)
			lines = append(lines, append(line, part{"", " "}, knownPart(r)))
		}
	} else {
		for _, r := range p.Regimes {
			lines = append(lines, frameLine{{"", pad(string(r.Regime), nameWidth)}, knownPart(r)})
		}
	}
	if p.Certain >= time.Second {
		lines = append(lines, folded(sgrGreen+";"+sgrBold, certainText(p.Certain), width)...)
	} else {
		lines = append(lines, folded("", "nothing is certain yet", width)...)
	}
	if n := len(p.Events); n > 0 {
		e := p.Events[n-1]
		lines = append(lines, folded(sgrYellow, fmt.Sprintf("at %s: %s", duration(seconds(e.AtS)), eventText(e)), width)...)
	}
	if axis >= minAxis {
		lines = append(lines, legendLine(s, width))
	}
	for i, line := range lines {
		line = line.cut(width)
		if !s.unicode {
			for j := range line {
				line[j].text = asciiText.Replace(line[j].text)
			}
		}
		lines[i] = line
	}
	return lines
}

// folded returns text as lines of at most width characters.
func folded(sgr, text string, width int) []frameLine {
	var lines []frameLine
	for _, line := range wrap(text, width) {
		lines = append(lines, frameLine{{sgr, line}})
	}
	return lines
}

// asciiText keeps the width of what it replaces.
var asciiText = strings.NewReplacer("–", "-", "≥", ">", "✓", "*", "·", ".")

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// statusLines say where the run and the path stand. There are two where they
// fit, also where one might do, so that the rest doesn't move up and down.
func statusLines(p probe.Progress, ended bool, width int) []frameLine {
	state := "at most " + duration(p.Remaining) + " left"
	switch {
	case allDone(p):
		state = "done"
	case ended:
		state = "ended early"
	case !answered(p):
		state = "waiting for the reflector"
	case p.Remaining == 0:
		state = "ending"
	}
	path := "no answer so far"
	if answered(p) {
		path = fmt.Sprintf("%s · RTT %s · %s open", lossText(p),
			millis(float64(p.RTT)/float64(time.Millisecond)), plural(p.Mappings, "mapping"))
	}
	return append(folded(sgrBold, duration(p.Elapsed)+" elapsed, "+state, width), folded("", path, width)...)
}

// allDone says whether each bracket stands.
func allDone(p probe.Progress) bool {
	open := func(r probe.RegimeProgress) bool { return !r.Done }
	return len(p.Regimes) > 0 && !slices.ContainsFunc(p.Regimes, open)
}

// answered says whether the reflector has answered yet.
func answered(p probe.Progress) bool { return p.RTT > 0 }

// knownPart writes a regime's bracket in short.
func knownPart(r probe.RegimeProgress) part {
	var text string
	switch lo, hi := lower(r.Lower.Seconds()), upper(r.Upper.Seconds()); {
	case r.Lower <= 0 && r.Upper == 0:
		text = "not known"
	case r.Upper == 0:
		text = "≥ " + lo + " s"
	case r.Lower <= 0:
		text = "< " + hi + " s"
	default:
		text = lo + "–" + hi + " s"
	}
	if r.Done {
		return part{sgrBold, text + " ✓"}
	}
	return part{"", text}
}

// legendLine explains as many marks as there is room for.
func legendLine(s style, width int) frameLine {
	var line frameLine
	for i, state := range legend {
		m := marks[state]
		lead := ""
		if i > 0 {
			lead = "  "
		}
		next := append(slices.Clone(line), part{"", lead}, part{m.sgr, m.text(s)}, part{sgrDim, " " + m.meaning})
		if next.width() <= width {
			line = next
		}
	}
	return line
}

// scale is a logarithmic axis of gaps.
type scale struct {
	low, high float64 // seconds
	width     int     // cells
}

func newScale(regimes []probe.RegimeProgress, width int) scale {
	shortest, longest := span(regimes)
	low := max(shortest.Seconds(), 0.1)
	return scale{low: low, high: max(longest.Seconds(), 2*low), width: width}
}

// cell returns where a gap in seconds is on the axis. It may be outside.
func (s scale) cell(gap float64) int {
	return int(math.Round(math.Log(gap/s.low) / math.Log(s.high/s.low) * float64(s.width-1)))
}

// labels writes the ticks that there is room for. The last may go beyond the
// axis, by as many characters as are free there.
func (s scale) labels(beyond int) string {
	line := []rune(strings.Repeat(" ", s.width+beyond))
	for _, t := range ticks {
		label := duration(time.Duration(t) * time.Second)
		at := s.cell(float64(t))
		end := at + len(label)
		if at < 0 || at >= s.width || end > len(line) {
			continue
		}
		if around := string(line[max(at-1, 0):min(end+1, len(line))]); strings.TrimSpace(around) == "" {
			copy(line[at:], []rune(label))
		}
	}
	return strings.TrimRight(string(line), " ")
}

// cells draws a ladder; neighbours of one colour are one part.
func (s scale) cells(rungs []probe.Rung, st style) []part {
	states := make([]probe.RungState, s.width)
	taken := make([]bool, s.width)
	for _, r := range rungs {
		at := min(max(s.cell(r.Gap.Seconds()), 0), s.width-1)
		if !taken[at] || rank[r.State] > rank[states[at]] {
			states[at], taken[at] = r.State, true
		}
	}
	var parts []part
	for i, state := range states {
		m, text := mark{}, " "
		if taken[i] {
			m = marks[state]
			text = m.text(st)
		}
		if n := len(parts); n > 0 && (parts[n-1].sgr == m.sgr || !taken[i]) {
			parts[n-1].text += text
			continue
		}
		parts = append(parts, part{m.sgr, text})
	}
	return parts
}
