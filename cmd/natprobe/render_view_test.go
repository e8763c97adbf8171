package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/results"
)

// snapshots are progress of one measurement: when nobody has answered yet, at
// its start, in its middle, at its end.
func snapshots() []probe.Progress {
	const second = time.Second
	ladder := func(regime results.Regime, lower, upper, sent float64, done bool) probe.RegimeProgress {
		r := probe.RegimeProgress{Regime: regime, Done: done, Lower: seconds(lower), Upper: seconds(upper)}
		for gap := 1.0; gap <= 360; gap += max(0.75, gap*0.08) {
			state := probe.RungPending
			switch {
			case gap <= lower:
				state = probe.RungAlive
			case gap > sent:
				state = probe.RungUnsent
			case upper > 0 && gap >= upper:
				state = probe.RungExpired
			}
			r.Rungs = append(r.Rungs, probe.Rung{Gap: seconds(gap), State: state})
		}
		return r
	}
	start := probe.Progress{
		Elapsed: second / 2, Remaining: 376 * second, RTT: 21400 * time.Microsecond, Mappings: 12,
		Outbound: results.Loss{Sent: 14}, Inbound: results.Loss{Sent: 12},
		Regimes: []probe.RegimeProgress{ladder(results.Solitary, 0, 0, 10, false), ladder(results.Stream, 0, 0, 0, false)},
	}
	reboot := results.Event{AtS: 12.4, Reason: results.ReasonNATReboot, Detail: "idle mappings that could not have expired died together: the NAT lost its state", Voided: 41}
	middle := probe.Progress{
		Elapsed: 34 * second, Remaining: 95 * second, RTT: 21400 * time.Microsecond, Mappings: 231,
		Outbound: results.Loss{Sent: 420, Lost: 4, Rate: 4.0 / 420}, Inbound: results.Loss{Sent: 410, Lost: 31, Rate: 31.0 / 410},
		Certain: 29100 * time.Millisecond, Events: []results.Event{reboot},
		Regimes: []probe.RegimeProgress{ladder(results.Solitary, 29.1, 30.9, 38, true), ladder(results.Stream, 29.1, 0, 200, false)},
	}
	middle.Regimes[0].Rungs[3].State = probe.RungInconclusive
	end := middle
	end.Elapsed, end.Remaining, end.Mappings = 124*second, 0, 40
	end.Regimes = []probe.RegimeProgress{middle.Regimes[0], ladder(results.Stream, 118.9, 123.8, 200, true)}
	silent := start
	silent.Elapsed, silent.RTT, silent.Mappings, silent.Inbound = 0, 0, 1, results.Loss{}
	silent.Outbound = results.Loss{Sent: 1}
	silent.Regimes = []probe.RegimeProgress{ladder(results.Solitary, 0, 0, 0, false), ladder(results.Stream, 0, 0, 0, false)}
	return []probe.Progress{silent, start, middle, end}
}

func TestFrame(t *testing.T) {
	styles := []struct {
		name  string
		style style
		width int
	}{
		{"wide", style{unicode: true}, 100},
		{"narrow", style{unicode: true}, 60},
		{"tiny", style{unicode: true}, 30},
		{"ascii", style{}, 80},
		{"color", style{unicode: true, color: true}, 80},
	}
	for _, test := range styles {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			all := snapshots()
			all = append(all, all[2]) // as an interrupted run leaves it
			for i, p := range all {
				for _, line := range frame(p, i >= 3, test.width, test.style) {
					if n := line.width(); n > test.width {
						t.Errorf("a line has %d characters, want at most %d", n, test.width)
					}
					text := line.paint(test.style)
					if n := utf8.RuneCountInString(withoutSGR(text)); n != line.width() {
						t.Errorf("width() = %d, want %d: %q", line.width(), n, text)
					}
					if !test.style.unicode && strings.ContainsFunc(text, func(r rune) bool { return r > 126 }) {
						t.Errorf("not ASCII: %q", text)
					}
					b.WriteString(text + "\n")
				}
				b.WriteString("\n")
			}
			golden(t, "frame."+test.name, b.String())
		})
	}
}

// TestScale checks that gaps of the whole range keep their order and stay on
// the axis.
func TestScale(t *testing.T) {
	rungs := []probe.Rung{{Gap: time.Second}, {Gap: 6 * time.Minute}}
	s := newScale([]probe.RegimeProgress{{Rungs: rungs}}, 77)
	if first, last := s.cell(1), s.cell(360); first != 0 || last != 76 {
		t.Errorf("the ends of the axis are at cells %d and %d, want 0 and 76", first, last)
	}
	if middle := s.cell(math.Sqrt(360)); middle != 38 {
		t.Errorf("the middle of the axis is at cell %d, want 38", middle)
	}
	for _, empty := range [][]probe.RegimeProgress{nil, {{}}, {{Rungs: rungs[:1]}}} {
		s := newScale(empty, 20)
		if got := len([]rune(s.labels(5))); got > 25 {
			t.Errorf("an axis without rungs has %d cells for labels, want at most 25", got)
		}
		if got := frameLine(s.cells(nil, style{})).width(); got != 20 {
			t.Errorf("an axis without rungs has %d cells, want 20", got)
		}
	}
}

func TestPlainView(t *testing.T) {
	var b bytes.Buffer
	v := newView(&b, false)
	v.Note("Measuring against the reflector.")
	s := snapshots()
	v.Progress(s[0])
	v.Progress(s[0])
	for at := time.Duration(0); at < 13*time.Second; at += time.Second {
		s[1].Elapsed = at
		v.Progress(s[1])
	}
	v.Progress(s[2])
	v.Progress(s[2]) // nothing new
	s[3].Regimes[0].Lower += 300 * time.Millisecond
	v.Progress(s[3]) // solitary has become narrower
	s[3].Elapsed += heartbeat
	v.Progress(s[3]) // nothing to add
	v.Close()
	golden(t, "plain", b.String())
}

func TestPlainViewEndsEarly(t *testing.T) {
	for name, test := range map[string]struct {
		last int // snapshot
		want string
	}{
		"no answer":   {0, "     0 s  waiting for the reflector to answer\n"},
		"interrupted": {1, "     1 s  measuring silences of 1 s to 5 m 45 s; at most 6 m 16 s to go\n     1 s  ended early\n"},
	} {
		var b bytes.Buffer
		v := newView(&b, false)
		v.Progress(snapshots()[test.last])
		v.Close()
		v.Close() // does nothing
		if diff := cmp.Diff(test.want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// screen is the part of a terminal that a view may use.
type screen struct {
	t      *testing.T
	lines  []string
	row    int
	writes int
}

func (s *screen) Write(p []byte) (int, error) {
	s.writes++
	for text := string(p); text != ""; {
		if seq, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexFunc(seq, func(r rune) bool { return r >= '@' && r <= '~' })
			s.control(seq[:end], seq[end])
			text = seq[end+1:]
			continue
		}
		end := strings.IndexAny(text, "\x1b\r\n")
		if end < 0 {
			end = len(text)
		}
		if end > 0 {
			s.grow()
			// The views write whole lines from their start.
			s.lines[s.row] = text[:end]
		} else {
			if text[0] == '\n' {
				s.row++
			}
			end = 1
		}
		text = text[end:]
	}
	return len(p), nil
}

func (s *screen) grow() {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, "")
	}
}

func (s *screen) control(args string, final byte) {
	switch final {
	case 'A':
		n, err := strconv.Atoi(args)
		if s.row -= n; err != nil || s.row < 0 {
			s.t.Fatalf("the cursor went up by %q, to row %d", args, s.row)
		}
	case 'J':
		s.grow()
		s.lines = append(s.lines[:s.row], "")
	case 'K':
	default:
		s.t.Fatalf("unexpected control sequence %q", args+string(final))
	}
}

// shown returns what the screen shows of a frame.
func shown(p probe.Progress, ended bool, width int) []string {
	var lines []string
	for _, line := range frame(p, ended, width, style{}) {
		lines = append(lines, line.paint(style{}))
	}
	return lines
}

func TestTerminalViewDrawsInPlace(t *testing.T) {
	const width = 80
	s := &screen{t: t}
	v := &terminalView{w: s, size: func() (int, int) { return width, 24 }}
	p := snapshots()
	v.Note("Before.")
	v.Progress(p[1])
	v.Progress(p[3])
	v.Progress(p[2])
	v.Note("Meanwhile.")
	v.Progress(p[1])
	v.Close()
	v.Close() // does nothing
	// An empty line follows, and the cursor is below it.
	want := append([]string{"Before.", "Meanwhile."}, append(shown(p[1], true, width), "")...)
	if diff := cmp.Diff(want, s.lines); diff != "" {
		t.Errorf("the screen (-want +got):\n%s", diff)
	}
	if s.row != len(want) {
		t.Errorf("the cursor is in row %d, want %d", s.row, len(want))
	}
	if s.writes != 7 {
		t.Errorf("%d writes, want one for each frame and note: 7", s.writes)
	}
}

func TestTerminalViewCutsWhatIsTooHigh(t *testing.T) {
	s := &screen{t: t}
	v := &terminalView{w: s, size: func() (int, int) { return 80, 4 }}
	p := snapshots()[2]
	v.Progress(p)
	v.Progress(p)
	if diff := cmp.Diff(append(shown(p, false, 80)[:3], ""), s.lines); diff != "" {
		t.Errorf("the screen (-want +got):\n%s", diff)
	}
}

// TestTerminalViewGetsNarrower checks that lines which the terminal folded are
// taken back whole.
func TestTerminalViewGetsNarrower(t *testing.T) {
	width := 100
	var b bytes.Buffer
	v := &terminalView{w: &b, size: func() (int, int) { return width, 50 }}
	p := snapshots()[2]
	v.Progress(p)
	want := 0
	width = 40
	for _, line := range shown(p, false, 100) {
		want += max(1, (utf8.RuneCountInString(line)+width-1)/width)
	}
	b.Reset()
	v.Progress(p)
	if prefix := fmt.Sprintf("\x1b[%dA\r", want); !strings.HasPrefix(b.String(), prefix) {
		t.Errorf("got %.20q, want it to begin with %q", b.String(), prefix)
	}
}

func TestNewView(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tests := []struct {
		name  string
		w     io.Writer
		quiet bool
		want  string
	}{
		{"quiet", file, true, "main.silentView"},
		{"file", file, false, "*main.plainView"},
		{"buffer", new(bytes.Buffer), false, "*main.plainView"},
	}
	for _, test := range tests {
		if got := fmt.Sprintf("%T", newView(test.w, test.quiet)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestSilentView(t *testing.T) {
	var b bytes.Buffer
	v := newView(&b, true)
	v.Note("a note")
	v.Progress(snapshots()[2])
	v.Close()
	if b.Len() > 0 {
		t.Errorf("a silent view wrote %q", b.String())
	}
}

func TestSpeaksUTF8(t *testing.T) {
	tests := []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": ""}, true},
	}
	for _, test := range tests {
		got := speaksUTF8(func(name string) (string, bool) {
			value, ok := test.env[name]
			return value, ok
		})
		if got != test.want {
			t.Errorf("speaksUTF8(%v) = %v, want %v", test.env, got, test.want)
		}
	}
}
