package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWords(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	tests := []struct{ got, want string }{
		{duration(0), "0 s"},
		{duration(59400 * time.Millisecond), "59 s"},
		{duration(59600 * time.Millisecond), "1 m"},
		{duration(125 * time.Second), "2 m 5 s"},
		{duration(6 * time.Minute), "6 m"},

		{lower(5.58), "5.5"},
		{lower(2.3), "2.3"},
		{lower(359.9), "359"},
		{upper(6.51), "6.6"},
		{upper(120.1), "121"},
		{upper(2.3), "2.3"},

		{bracket(0, nil), "not known"},
		{bracket(359.2, nil), "over 359 s"},
		{bracket(0, f(1.44)), "under 1.5 s"},
		{bracket(29.16, f(30.91)), "29.1–31 s"},
		{howLong(0, nil), "for an unknown time"},
		{howLong(359.2, nil), "longer than 359 s"},
		{howLong(0, f(1.44)), "shorter than 1.5 s"},
		{howLong(29.16, f(30.91)), "for 29.1–31 s"},

		{reachable(1), "100 %"},
		{reachable(0.5), "50.0 %"},
		{reachable(0.9994), "99.940 %"},
		{reachable(0.99999999), "99.9999 %"},
		{reachable(0), "0.0 %"},

		{percent(0), "0 %"},
		{percent(0.08766), "8.77 %"},
		{count(0), "0"},
		{count(999), "999"},
		{count(5529.6), "5,530"},
		{count(1234567), "1,234,567"},
		{size(999), "999 B"},
		{size(453427), "453 kB"},
		{size(1984320), "2.0 MB"},
		{plural(1, "trial"), "1 trial"},
		{plural(1200, "trial"), "1,200 trials"},
		{millis(0.037), "0.04 ms"},
		{millis(21.44), "21.4 ms"},
		{millis(250.4), "250 ms"},
		{pad("–", 3), "–  "},
		{pad("–", -3), "  –"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestMilestone(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		4 * time.Second:   0,
		5 * time.Second:   5 * time.Second,
		29 * time.Second:  25 * time.Second,
		31 * time.Second:  30 * time.Second,
		59 * time.Second:  30 * time.Second,
		60 * time.Second:  time.Minute,
		179 * time.Second: 2 * time.Minute,
	} {
		if got := milestone(d); got != want {
			t.Errorf("milestone(%v) = %v, want %v", d, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	tests := []struct {
		text  string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"one two", 7, []string{"one two"}},
		{"one two three", 8, []string{"one two", "three"}},
		{"5–6 s are seven", 5, []string{"5–6 s", "are", "seven"}},
		{"unbreakable word", 5, []string{"unbreakable", "word"}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, wrap(test.text, test.width)); diff != "" {
			t.Errorf("wrap(%q, %d) (-want +got):\n%s", test.text, test.width, diff)
		}
	}
}
