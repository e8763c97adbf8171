package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/natprobe/natprobe/probe"
)

// view shows a running measurement to a person. Its methods may be called from
// several goroutines.
type view interface {
	Progress(probe.Progress) // a few times a second
	Note(text string)        // one line for a person
	Close()                  // leaves the terminal clean
}

// newView returns the view that suits w: a picture that is drawn anew in place
// on a terminal, lines elsewhere, nothing where quiet.
func newView(w io.Writer, quiet bool) view {
	if quiet {
		return silentView{}
	}
	file, ok := w.(*os.File)
	if !ok {
		return &plainView{w: w}
	}
	fd := int(file.Fd())
	if kind, _ := os.LookupEnv("TERM"); kind == "dumb" || !term.IsTerminal(fd) {
		return &plainView{w: w}
	}
	noColor, _ := os.LookupEnv("NO_COLOR") // https://no-color.org
	return &terminalView{
		w:     w,
		style: style{color: noColor == "", unicode: speaksUTF8(os.LookupEnv)},
		size: func() (int, int) {
			width, height, err := term.GetSize(fd)
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		},
	}
}

// speaksUTF8 says whether the locale's characters are UTF-8. The first of the
// variables that is set decides, as in POSIX (XBD section 8.2).
func speaksUTF8(env func(string) (string, bool)) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value, _ := env(name); value != "" {
			value = strings.ToLower(value)
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}

// silentView shows nothing.
type silentView struct{}

func (silentView) Progress(probe.Progress) {}
func (silentView) Note(string)             {}
func (silentView) Close()                  {}
