package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/results"
)

// heartbeat is the longest silence of a plain view, so that a log shows that
// the measurement goes on.
const heartbeat = 10 * time.Second

// plainView writes a line when something is new: for logs, pipes and terminals
// that can't move their cursor.
type plainView struct {
	mu      sync.Mutex
	w       io.Writer
	latest  probe.Progress
	waiting bool                      // it was told that the reflector has not answered yet
	started bool                      // it was told what is measured
	done    bool                      // it was told that all is known
	last    time.Duration             // when the last line was written
	certain time.Duration             // the last milestone told
	known   map[results.Regime]string // the brackets that stand, as they were told
	events  int                       // how many were told
}

func (v *plainView) Progress(p probe.Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.latest = p
	if !answered(p) {
		if !v.waiting {
			v.waiting = true
			v.line(p, "waiting for the reflector to answer")
		}
		return
	}
	if !v.started {
		v.started = true
		v.known = make(map[results.Regime]string)
		shortest, longest := span(p.Regimes)
		v.line(p, fmt.Sprintf("measuring silences of %s to %s; at most %s to go",
			duration(shortest), duration(longest), duration(p.Remaining)))
	}
	for _, e := range p.Events[min(v.events, len(p.Events)):] {
		v.line(p, eventText(e))
	}
	v.events = len(p.Events)
	if m := milestone(p.Certain); m > v.certain {
		v.certain = m
		v.line(p, certainText(m))
	}
	v.brackets(p)
	switch {
	case v.done:
	case allDone(p):
		v.done = true
		v.line(p, "done")
	case p.Elapsed-v.last >= heartbeat:
		v.line(p, fmt.Sprintf("at most %s left; %s; %s held open", duration(p.Remaining), lossText(p), plural(p.Mappings, "mapping")))
	}
}

// brackets tells each bracket once it stands, and at the end again where it
// has become narrower since.
func (v *plainView) brackets(p probe.Progress) {
	over := allDone(p)
	for _, r := range p.Regimes {
		if _, told := v.known[r.Regime]; !r.Done || told && !over {
			continue
		}
		if text := known(r); text != v.known[r.Regime] {
			v.known[r.Regime] = text
			v.line(p, fmt.Sprintf("%s (%s): %s", r.Regime, meaning(r.Regime), text))
		}
	}
}

func (v *plainView) line(p probe.Progress, text string) {
	v.last = p.Elapsed
	// A person can't be told where telling fails.
	_, _ = fmt.Fprintf(v.w, "%s  %s\n", pad(duration(p.Elapsed), -8), text)
}

func (v *plainView) Note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, _ = fmt.Fprintln(v.w, text)
}

// Close says so where the run ended before all was known.
func (v *plainView) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.started && !v.done {
		v.done = true
		v.line(v.latest, "ended early")
	}
}

// milestone returns the largest round time up to d: 5, 10, 15, 20, 25 and 30 s,
// then whole minutes. 0 is none.
func milestone(d time.Duration) time.Duration {
	if d >= time.Minute {
		return d.Truncate(time.Minute)
	}
	return min(d.Truncate(5*time.Second), 30*time.Second)
}

// span returns the shortest and longest gap of all ladders.
func span(regimes []probe.RegimeProgress) (shortest, longest time.Duration) {
	for _, r := range regimes {
		if len(r.Rungs) == 0 {
			continue
		}
		if first := r.Rungs[0].Gap; shortest == 0 || first < shortest {
			shortest = first
		}
		longest = max(longest, r.Rungs[len(r.Rungs)-1].Gap)
	}
	return shortest, longest
}

// silentAfter is when the reflector counts as silent: a working one answers
// each second or so.
const silentAfter = 3 * time.Second

// known writes what a running measurement knows of a regime.
func known(r probe.RegimeProgress) string {
	if r.Upper == 0 {
		return bracket(r.Lower.Seconds(), nil)
	}
	hi := r.Upper.Seconds()
	return bracket(r.Lower.Seconds(), &hi)
}

// certainText is what a person can rely on before the measurement ends.
func certainText(d time.Duration) string {
	return duration(d.Truncate(time.Second)) + " holds here: every kind of mapping lived that long"
}

// lossText tells of the path. Packets that wait for their answer count neither
// way yet, so that without any answer the loss would look as if it were none.
func lossText(p probe.Progress) string {
	out, in := p.Outbound, p.Inbound
	if p.Silent >= silentAfter {
		return fmt.Sprintf("no answer from the reflector for %s", duration(p.Silent))
	}
	if out.Lost == 0 && in.Lost == 0 {
		return fmt.Sprintf("no loss in %s", plural(out.Sent+in.Sent, "packet"))
	}
	return fmt.Sprintf("loss %s out, %s in", percent(out.Rate), percent(in.Rate))
}

func eventText(e results.Event) string {
	text := e.Detail
	if text == "" {
		text = string(e.Reason)
	}
	if e.Voided > 0 {
		text += fmt.Sprintf(" (%s void, to be run again)", plural(e.Voided, "trial"))
	}
	return text
}
