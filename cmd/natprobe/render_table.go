package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// table aligns columns. Lines are indented by two spaces and end where their
// text ends. Where there is no header, the last column is text, and folded
// where it is too long for the screen.
type table struct {
	header bool  // the first row is one
	align  []int // by column: negative is to the right; what is missing is to the left
	rows   [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// widths returns the width of each column.
func (t *table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// width returns how long the longest line is, unless folded.
func (t *table) width() int {
	n := 0
	for _, w := range t.widths() {
		n += 2 + w
	}
	return n
}

// folded returns the rows, each of them over as many as its last column takes
// where the table is to be at most so wide.
func (t *table) folded(width int) [][]string {
	widths := t.widths()
	last := len(widths) - 1
	if t.width() <= width || last < 0 {
		return t.rows
	}
	room := max(width-(t.width()-widths[last]), minText/2)
	var rows [][]string
	for _, row := range t.rows {
		if len(row) <= last {
			rows = append(rows, row)
			continue
		}
		lead := row[:last]
		for _, line := range wrap(row[last], room) {
			rows = append(rows, append(slices.Clone(lead), line))
			lead = make([]string, last)
		}
	}
	return rows
}

func (t *table) write(b *strings.Builder, st style) {
	if !t.header {
		t = &table{align: t.align, rows: t.folded(st.text())}
	}
	widths := t.widths()
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
		if n == 0 && t.header {
			line = st.paint(sgrDim, line)
		}
		b.WriteString(line + "\n")
	}
}
