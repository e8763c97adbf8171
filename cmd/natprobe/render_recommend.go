package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/results"
)

// writeRecommendation writes what a record's lifetimes recommend, for a person:
// one sentence, the line to paste, then the reasoning.
func writeRecommendation(w io.Writer, record results.Record, st style) {
	var b strings.Builder
	writeHeadline(&b, record, st)
	writeReasoning(&b, *record.Recommendation, st)
	// A person can't be told where telling fails.
	_, _ = io.WriteString(w, b.String())
}

// writeReasoning shows what a recommendation rests on.
func writeReasoning(b *strings.Builder, r results.Recommendation, st style) {
	var t table
	switch {
	case r.Off:
		heading(b, st, "Why it can stay off")
		t.row("basis", strings.TrimPrefix(r.Basis, "off: "))
		t.row("25 s would cost", costText(r.CostAt25)+" a day")
	case r.KeepaliveS == nil:
		// What is not known counts as 0 in the expected reachability: it would
		// say nothing here.
		heading(b, st, "What the fallback costs")
		t.row("a day", costText(r.CostPerDay))
		if r.FallbackS == nil || *r.FallbackS != analysis.UsualKeepaliveS {
			t.row("with 25 s", costText(r.CostAt25))
		}
	default:
		heading(b, st, fmt.Sprintf("Why %d s", *r.KeepaliveS))
		t.row("binding rule", r.Basis)
		t.row("margin", lower(r.MarginS)+" s below the lifetime that binds")
		t.row("losses tolerated", lossesText(r.ToleratesLosses))
		t.row("reachable", fmt.Sprintf("%s of the time, expected", reachable(r.Reachability)))
		t.row("cost a day", costText(r.CostPerDay))
		if *r.KeepaliveS != analysis.UsualKeepaliveS {
			t.row("25 s instead", fmt.Sprintf("reachable %s of the time;", reachable(r.ReachabilityAt25)))
			t.row("", costText(r.CostAt25)+" a day")
		}
	}
	t.write(b, st)
	if len(r.Alternatives) == 0 {
		return
	}
	b.WriteString("\n")
	heading(b, st, "Alternatives")
	t = table{align: []int{1, -1}}
	for _, a := range r.Alternatives {
		text := fmt.Sprintf("reachable %s of the time, %s packets a day: %s", reachable(a.Reachability), count(a.CostPerDay.Packets), a.Why)
		t.row(a.Name, fmt.Sprintf("%d s", a.KeepaliveS), text)
	}
	t.write(b, st)
}

func lossesText(n int) string {
	switch n {
	case 0:
		return "no keepalive may be lost"
	case 1:
		return "one keepalive may be lost"
	default:
		return fmt.Sprintf("%d keepalives in a row may be lost", n)
	}
}

func costText(c results.Cost) string {
	return fmt.Sprintf("%s packets, %s, %s wake-ups", count(c.Packets), size(c.Bytes), count(c.Wakeups))
}
