package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/natprobe/natprobe/probe"
)

// terminalView draws a frame, and draws it anew in place. Each frame is one
// Write, so that it doesn't flicker; the cursor stays below it and visible, so
// that nothing needs repair where the program is killed.
type terminalView struct {
	mu    sync.Mutex
	w     io.Writer
	style style
	size  func() (width, height int)
	shown []int           // the width of each line of the frame on the screen
	last  *probe.Progress // what that frame shows
}

func (v *terminalView) Progress(p probe.Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = &p
	v.write(v.redraw("", false))
}

func (v *terminalView) Note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.write(v.redraw(text, false))
}

// Close leaves a frame that says that the run has ended, and an empty line
// below it.
func (v *terminalView) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last != nil {
		v.write(v.redraw("", true) + "\r\n")
		v.last, v.shown = nil, nil
	}
}

func (v *terminalView) write(text string) {
	// A person can't be told where telling fails.
	_, _ = io.WriteString(v.w, text)
}

// redraw returns what replaces the frame on the screen by a note, if there is
// one, and the present frame below it.
func (v *terminalView) redraw(note string, ended bool) string {
	width, height := v.size()
	var b strings.Builder
	if up := rows(v.shown, width); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r")
	if note != "" {
		for _, line := range wrap(note, width) {
			b.WriteString(line + "\x1b[K\r\n")
		}
	}
	v.shown = v.shown[:0]
	if v.last != nil {
		lines := frame(*v.last, ended, width, v.style)
		// One row is the cursor's. A frame that scrolls can't be drawn over.
		for _, line := range lines[:min(len(lines), max(height-1, 1))] {
			b.WriteString(line.paint(v.style) + "\x1b[K\r\n")
			v.shown = append(v.shown, line.width())
		}
	}
	b.WriteString("\x1b[J")
	return b.String()
}

// rows returns how many rows lines take on a screen that may have become
// narrower since they were drawn: terminals then fold them.
func rows(widths []int, screen int) int {
	n := 0
	for _, w := range widths {
		n += max(1, (w+screen-1)/screen)
	}
	return n
}
