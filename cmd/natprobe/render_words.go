package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/natprobe/natprobe/results"
)

// The colours, as SGR parameters of ECMA-48 section 8.3.117.
const (
	sgrBold   = "1"
	sgrDim    = "2"
	sgrRed    = "31"
	sgrGreen  = "32"
	sgrYellow = "33"
	sgrCyan   = "36"
)

// style is what a terminal can show.
type style struct {
	color   bool
	unicode bool
	width   int // characters in a line; 0: not known
}

const (
	// textWidth is how long lines of running text are, where there is room.
	textWidth = 78
	// minText is the narrowest text that can still be read.
	minText = 30
	// usualWidth is that of a terminal, or file, of unknown width.
	usualWidth = 80
)

// screen returns how many characters fit in a line.
func (s style) screen() int {
	if s.width <= 0 {
		return usualWidth
	}
	return s.width
}

// text returns how long lines of running text are.
func (s style) text() int { return max(min(textWidth, s.screen()), minText) }

// paint puts text in a colour, where there are colours.
func (s style) paint(sgr, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// pad fills text with spaces up to a width in characters; to the left of it
// where the width is negative.
func pad(text string, width int) string {
	fill := strings.Repeat(" ", max(0, max(width, -width)-utf8.RuneCountInString(text)))
	if width < 0 {
		return fill + text
	}
	return text + fill
}

// duration writes a time to the second: 42 s, 2 m 5 s, 6 m.
func duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s%60 == 0:
		return fmt.Sprintf("%d m", s/60)
	default:
		return fmt.Sprintf("%d m %d s", s/60, s%60)
	}
}

// lower writes the proven end of a bracket in seconds, without unit, and so
// rounds down; upper rounds up. To 0.1 s below 100 s, to 1 s from there.
func lower(s float64) string { return bound(s, math.Floor) }
func upper(s float64) string { return bound(s, math.Ceil) }

func bound(s float64, round func(float64) float64) string {
	unit := 10.0
	if s >= 100 {
		unit = 1
	}
	// What is decimal already stays: 2.3 × 10 is 22.999….
	scaled := s * unit
	if nearest := math.Round(scaled); math.Abs(nearest-scaled) < 1e-6 {
		scaled = nearest
	}
	return strconv.FormatFloat(round(scaled)/unit, 'f', -1, 64)
}

// bracket writes what is known of a lifetime, in seconds; hi is nil where no
// trial expired.
func bracket(lo float64, hi *float64) string {
	switch {
	case hi == nil && lo <= 0:
		return "not known"
	case hi == nil:
		return "over " + lower(lo) + " s"
	case lo <= 0:
		return "under " + upper(*hi) + " s"
	default:
		return lower(lo) + "–" + upper(*hi) + " s"
	}
}

// howLong is bracket within a sentence.
func howLong(lo float64, hi *float64) string {
	switch {
	case hi == nil && lo <= 0:
		return "for an unknown time"
	case hi == nil:
		return "longer than " + lower(lo) + " s"
	case lo <= 0:
		return "shorter than " + upper(*hi) + " s"
	default:
		return "for " + bracket(lo, hi)
	}
}

// percent writes a share, 0 to 1, with three digits.
func percent(share float64) string {
	return strconv.FormatFloat(100*share, 'g', 3, 64) + " %"
}

// reachable writes a share near 1 with enough digits to tell it from 1, and
// rounds down.
func reachable(share float64) string {
	if share >= 1 {
		return "100 %"
	}
	digits := 1
	if away := -math.Log10(1 - share); away > 1 {
		digits = min(int(away), 4)
	}
	unit := math.Pow(10, float64(digits))
	return strconv.FormatFloat(math.Floor(100*share*unit)/unit, 'f', digits, 64) + " %"
}

// count writes a number with a comma at each thousand.
func count(n float64) string {
	s := strconv.FormatFloat(math.Round(n), 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes, with decimal prefixes.
func size(bytes float64) string {
	switch {
	case bytes >= 1e6:
		return strconv.FormatFloat(bytes/1e6, 'f', 1, 64) + " MB"
	case bytes >= 1e3:
		return strconv.FormatFloat(bytes/1e3, 'f', 0, 64) + " kB"
	default:
		return strconv.FormatFloat(bytes, 'f', 0, 64) + " B"
	}
}

// plural writes a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(float64(n)) + " " + noun + "s"
}

// millis writes a round-trip time.
func millis(ms float64) string {
	digits := 1
	switch {
	case ms >= 100:
		digits = 0
	case ms < 1:
		digits = 2
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + " ms"
}

// meaning says in plain words what traffic a mapping saw before its silence.
func meaning(r results.Regime) string {
	switch r {
	case results.Solitary:
		return "one packet, no reply"
	case results.Oneway:
		return "more packets, no reply"
	case results.Exchange:
		return "tunnel just set up"
	case results.Stream:
		return "tunnel in use"
	default:
		return ""
	}
}

// wrap breaks text into lines of at most width characters, at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
