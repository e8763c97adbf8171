package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/natprobe/natprobe/results"
)

// soakLines writes a line when a soak has something new, and now and then one
// that shows that it goes on.
type soakLines struct {
	w     io.Writer
	quiet bool

	mu     sync.Mutex
	last   time.Duration // when the last line was written
	missed int           // how many were told
	events int
	began  bool
}

func (l *soakLines) progress(v *results.Verification) {
	now := seconds(v.Effort.ElapsedS)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range v.Events[min(l.events, len(v.Events)):] {
		text := e.Detail
		if e.Voided > 0 {
			text += fmt.Sprintf(" (%s void, to be tried again)", plural(e.Voided, "sample"))
		}
		l.line(now, text)
	}
	l.events = len(v.Events)
	switch {
	case v.Reflector.RTTms == 0:
		return // nobody has answered yet
	case !l.began:
		l.began = true
		l.line(now, fmt.Sprintf("the first knock comes after %s s", lower(v.SilenceS)))
	case v.Missed > l.missed, now-l.last >= heartbeat, v.Verdict != results.Undecided:
		l.missed = v.Missed
		l.line(now, tallyText(v.Samples)+soFar(v))
	}
}

// soFar says what the samples prove by now, of the regime that has proved least.
func soFar(v *results.Verification) string {
	if v.Reached+v.Missed == 0 {
		return ""
	}
	low := 1.0
	for _, r := range v.Regimes {
		low = min(low, r.Low95)
	}
	return fmt.Sprintf("; surely reachable %s, wanted %s", share(low), share(v.Target))
}

func (l *soakLines) line(at time.Duration, text string) {
	l.last = at
	if !l.quiet {
		// A person can't be told where telling fails.
		_, _ = fmt.Fprintf(l.w, "%s  %s\n", pad(duration(at), -8), text)
	}
}

func (l *soakLines) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.quiet {
		_, _ = fmt.Fprintln(l.w, text)
	}
}

func tallyText(s results.Samples) string {
	return fmt.Sprintf("%s reached, %s missed, %s unknown", count(float64(s.Reached)), count(float64(s.Missed)), count(float64(s.Unknown)))
}

// share writes a share, 0 to 1, to 0.1 %.
func share(x float64) string { return strconv.FormatFloat(100*x, 'f', 1, 64) + " %" }

// writeVerification writes the result for a person: what follows first.
func writeVerification(w io.Writer, v results.Verification, st style) {
	var b strings.Builder
	writeParagraph(&b, verdictText(v), st)
	b.WriteString("\n")
	heading(&b, st, "How often the peer came through at the end of the interval")
	t := table{header: true, align: []int{1, 1, -1, -1, -1, 1, 1}}
	t.row("regime", "traffic", "reached", "missed", "unknown", "reachable", "95 % interval")
	for _, r := range v.Regimes {
		reachable := "–"
		if r.Reachability != nil {
			reachable = share(*r.Reachability)
		}
		t.row(string(r.Regime), meaning(r.Regime), count(float64(r.Reached)), count(float64(r.Missed)), count(float64(r.Unknown)),
			reachable, share(r.Low95)+" to "+share(r.High95))
	}
	t.write(&b, st)
	b.WriteString("\n")
	t = table{}
	t.row("silence", lower(v.SilenceS)+" s before each knock")
	if len(v.Reasons) > 0 {
		var why []string
		for _, reason := range slices.Sorted(maps.Keys(v.Reasons)) {
			why = append(why, fmt.Sprintf("%s (%d)", reason, v.Reasons[reason]))
		}
		t.row("unknown", strings.Join(why, ", "))
	}
	t.row("loss out", lossDetail(v.Loss))
	if v.Loss.Inbound != nil {
		t.row("loss in", lossDetail(*v.Loss.Inbound))
	}
	t.row("RTT", millis(v.Reflector.RTTms)+", the smallest seen")
	t.write(&b, st)
	writeEvents(&b, v.Events, st)
	b.WriteString("\n")
	writeParagraph(&b, fmt.Sprintf("Took %s: %s sent (%s), %s received.", duration(seconds(v.Effort.ElapsedS)),
		plural(v.Effort.PacketsSent, "packet"), size(float64(v.Effort.BytesSent)), count(float64(v.Effort.PacketsRecv))), st)
	// A person can't be told where telling fails.
	_, _ = io.WriteString(w, b.String())
}

// verdictText is the sentence that most people read only.
func verdictText(v results.Verification) string {
	interval := strconv.FormatFloat(v.IntervalS, 'f', -1, 64) + " s"
	known := v.Reached + v.Missed
	switch v.Verdict {
	case results.Holds:
		return fmt.Sprintf("A keepalive each %s holds here: just before the next one, the peer came through in %s of %s tries.",
			interval, count(float64(v.Reached)), count(float64(known)))
	case results.Fails:
		for _, r := range v.Regimes {
			if r.Judge(v.Target) == results.Fails {
				return fmt.Sprintf("A keepalive each %s doesn't hold here: just before the next one, the peer came through in only %s of %s tries with a %s.",
					interval, count(float64(r.Reached)), count(float64(r.Reached+r.Missed)), meaning(r.Regime))
			}
		}
	case results.Undecided:
	}
	if known == 0 {
		return fmt.Sprintf("Whether a keepalive each %s holds here is not known: no try was over.", interval)
	}
	return fmt.Sprintf("Whether a keepalive each %s holds here is not decided: the peer came through in %s of %s tries, too few to tell.",
		interval, count(float64(v.Reached)), count(float64(known)))
}
