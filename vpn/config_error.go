package vpn

import (
	"strconv"
	"strings"
)

// Place is where in a configuration file something is.
type Place struct {
	File string
	// Line counts from 1; 0: the file as a whole.
	Line int
	// Key is a key or, in brackets, a section; empty where it is neither.
	Key string
}

// String returns "file:line: key".
func (p Place) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line))
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	return b.String()
}

// FileError is one mistake in a configuration file. It never contains a secret.
type FileError struct {
	Place
	// Reason says what is wrong and what is allowed.
	Reason string
}

// Error returns "file:line: key: reason".
func (e *FileError) Error() string { return e.Place.String() + ": " + e.Reason }

// Warning is something in a configuration file that is allowed but hardly
// meant. It never contains a secret.
type Warning struct {
	Place
	Text string
}

// String returns "file:line: key: text".
func (w Warning) String() string { return w.Place.String() + ": " + w.Text }

const (
	// maxProblems is how many mistakes are told one by one.
	maxProblems = 50
	// maxShown is how much of a value is shown, in bytes.
	maxShown = 60
	// keyLike is how many characters of base64 in a row may be a key, or what
	// is left of one that was torn apart.
	keyLike = 20
	// pieceLike is how many characters make a piece of a secret, where they
	// stand in one that is known.
	pieceLike = 6
)

// A problem is a mistake or a warning on its way. What it quotes of the file is
// kept apart until all secrets of the file are known.
type problem struct {
	line   int
	key    string
	quoted string // a value, or part of one; empty: nothing is quoted
	text   string
}

// place and words are what is told of it.
func (pr problem) place(file string) Place { return Place{File: file, Line: pr.line, Key: pr.key} }

func (pr problem) words(secrets []string) string {
	shown, dots := pr.quoted, ""
	if len(shown) > maxShown {
		shown, dots = shown[:maxShown], "…"
	}
	switch {
	case shown == "":
		return pr.text
	case mayBeSecret(shown, secrets):
		return "the value (not shown: it may be a secret) " + pr.text
	}
	return strconv.Quote(shown+dots) + " " + pr.text
}

// mayBeSecret tells whether a text should not be shown: it has in it what stands
// as a secret elsewhere in the file, a piece of that, or what looks like a key.
func mayBeSecret(text string, secrets []string) bool {
	squeezed := squeeze(text)
	for _, secret := range secrets {
		for i := range max(1, len(secret)-pieceLike+1) {
			if strings.Contains(squeezed, secret[i:min(len(secret), i+pieceLike)]) {
				return true
			}
		}
	}
	run, number := 0, true
	for _, r := range squeezed {
		if !isAlphanumeric(r) && r != '+' && r != '/' {
			run, number = 0, true
			continue
		}
		run++
		number = number && '0' <= r && r <= '9'
		if run >= keyLike && !number {
			return true
		}
	}
	return false
}

// isSpace is the white space of wg and of wg-quick's shell in the C locale.
func isSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }

// squeeze removes all white space, as wg does before it looks at a line.
func squeeze(text string) string {
	return strings.Map(func(r rune) rune {
		if isSpace(r) {
			return -1
		}
		return r
	}, text)
}
