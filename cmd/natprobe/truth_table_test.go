package main_test

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/natprobe/natprobe/results"
)

// What cases of the truth suite may have, and the table parts them by.
const (
	truthMaxLoss  = 0.2
	truthMostNATs = 3
	noFault       = "none" // the name of the absence of faults
)

// truthResult is what one measurement of the truth suite came to.
type truthResult struct {
	number     int
	loss       float64 // of the lab
	nats       int
	ports      string
	strictness string
	fault      string

	brackets []truthBracket // one for each regime
	complete bool           // each regime has its bracket
	events   int            // that the record tells of

	shortestS, longestS float64 // of the true lifetimes
	allowedS, elapsedS  float64
	interval, best      *int // seconds; nil: undecided

	trials, inconclusive int
	cpuS                 float64 // of the measuring process
}

// truthBracket is a measured bracket beside the truth, all in seconds.
type truthBracket struct {
	regime results.Regime
	truth  float64
	lower  float64  // 0: open below
	upper  *float64 // nil: open above
}

// verdict is how a bracket compares with the truth.
type verdict int

const (
	bracketHolds verdict = iota // it is closed, and contains the truth
	bracketOpen                 // on one side, on which it says nothing; right on the other
	bracketShort                // below the truth
	bracketLong                 // above the truth
)

func (b truthBracket) verdict() verdict {
	tick := labTick.Seconds()
	switch {
	case b.upper != nil && *b.upper < b.truth-tick:
		return bracketShort
	case b.lower > b.truth+tick:
		return bracketLong
	case b.upper == nil || b.lower == 0:
		return bracketOpen
	default:
		return bracketHolds
	}
}

// wrong reports whether a bracket excludes the truth.
func (r truthResult) wrong() bool {
	return slices.ContainsFunc(r.brackets, func(b truthBracket) bool {
		return b.verdict() == bracketShort || b.verdict() == bracketLong
	})
}

// intervalShare is the least share of the best interval that a recommended one
// should have.
const intervalShare = 0.8

// longTimers are lifetimes, in seconds, against which a bracket is narrow.
const longTimers = 10

// truthRow sums results up.
type truthRow struct {
	name string
	runs int

	verdicts [bracketLong + 1]int
	widths   []float64 // of brackets that hold, seconds

	incomplete int
	told       int       // runs with an event
	ratios     []float64 // elapsed / the longest lifetime
	inTime     int       // runs within what the design allows

	decidable int // runs in which the truth allows an interval
	undecided int // of these: no interval was recommended
	enough    int // of these: at least intervalShare of the best
	near      int // of these: at least intervalShare of the best, or at most 1 s below it
	above     int // of these: above the best

	trials, inconclusive int
}

func newTruthRow(name string, list []truthResult) truthRow {
	row := truthRow{name: name, runs: len(list)}
	for _, r := range list {
		for _, b := range r.brackets {
			v := b.verdict()
			row.verdicts[v]++
			if v == bracketHolds {
				row.widths = append(row.widths, *b.upper-b.lower)
			}
		}
		row.incomplete += count(!r.complete)
		row.told += count(r.events > 0)
		row.ratios = append(row.ratios, r.elapsedS/r.longestS)
		row.inTime += count(r.elapsedS <= r.allowedS)
		row.trials += r.trials
		row.inconclusive += r.inconclusive
		if r.best == nil {
			continue
		}
		row.decidable++
		switch {
		case r.interval == nil:
			row.undecided++
		case *r.interval > *r.best:
			row.above++
			row.enough++
			row.near++
		case float64(*r.interval) >= intervalShare*float64(*r.best):
			row.enough++
			row.near++
		case *r.interval == *r.best-1: // whole seconds are coarse where intervals are short
			row.near++
		}
	}
	return row
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// closed returns how many brackets say something on both sides, and are right
// or wrong.
func (row truthRow) closed() int {
	return row.verdicts[bracketHolds] + row.verdicts[bracketShort] + row.verdicts[bracketLong]
}

// truthGroups parts results in the ways that the table shows.
func truthGroups(all []truthResult) []truthRow {
	var rows []truthRow
	add := func(name string, list []truthResult, is func(truthResult) bool) {
		var members []truthResult
		for _, r := range list {
			if is(r) {
				members = append(members, r)
			}
		}
		if len(members) > 0 {
			rows = append(rows, newTruthRow(name, members))
		}
	}
	add("all", all, func(truthResult) bool { return true })
	add("**no fault**", all, func(r truthResult) bool { return r.fault == noFault })
	calm := slices.DeleteFunc(slices.Clone(all), func(r truthResult) bool { return r.fault != noFault })
	for _, class := range lossClasses() {
		add(class.name, calm, func(r truthResult) bool { return r.loss > class.above && r.loss <= class.upTo })
	}
	add(fmt.Sprintf("all timers from %d s", longTimers), calm, func(r truthResult) bool { return r.shortestS >= longTimers })
	add(fmt.Sprintf("some below %d s", longTimers), calm, func(r truthResult) bool { return r.shortestS < longTimers })
	for nats := 1; nats <= truthMostNATs; nats++ {
		name := fmt.Sprintf("%d NATs in a row", nats)
		if nats == 1 {
			name = "one NAT"
		}
		add(name, calm, func(r truthResult) bool { return r.nats == nats })
	}
	for _, of := range []func(truthResult) string{
		func(r truthResult) string { return r.ports },
		func(r truthResult) string { return r.strictness },
	} {
		for _, name := range distinct(calm, of) {
			add(name, calm, func(r truthResult) bool { return of(r) == name })
		}
	}
	add("**a fault**", all, func(r truthResult) bool { return r.fault != noFault })
	faultOf := func(r truthResult) string { return r.fault }
	for _, name := range distinct(all, faultOf) {
		if name != noFault {
			add(name, all, func(r truthResult) bool { return r.fault == name })
		}
	}
	return rows
}

type lossClass struct {
	name        string
	above, upTo float64
}

func lossClasses() []lossClass {
	return []lossClass{
		{"no loss", -1, 0},
		{"loss to 5 %", 0, 0.05},
		{"loss 5 to 10 %", 0.05, 0.1},
		{"loss 10 to 20 %", 0.1, truthMaxLoss},
	}
}

func distinct(list []truthResult, of func(truthResult) string) []string {
	var names []string
	for _, r := range list {
		if !slices.Contains(names, of(r)) {
			names = append(names, of(r))
		}
	}
	slices.Sort(names)
	return names
}

// truthTable writes results as a table in Markdown.
func truthTable(all []truthResult) string {
	var b strings.Builder
	b.WriteString("| runs | | brackets closed | of these right (95 % interval) | too short | too long | open " +
		"| width, s | trials unclear | told of an event | elapsed / longest lifetime: median | 90 % | in time " +
		"| interval ≥ 0.8 best | or 1 s below | above best | none |\n")
	b.WriteString("|---" + strings.Repeat("|--:", 16) + "|\n")
	for _, row := range truthGroups(all) {
		closed := row.closed()
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %d | %d | %s ", row.name, row.runs, closed,
			shareText(row.verdicts[bracketHolds], closed), row.verdicts[bracketShort], row.verdicts[bracketLong],
			percentText(row.verdicts[bracketOpen], closed+row.verdicts[bracketOpen]))
		fmt.Fprintf(&b, "| %.2f | %s | %s ", quantile(row.widths, 0.5), percentText(row.inconclusive, row.trials),
			percentText(row.told, row.runs))
		fmt.Fprintf(&b, "| %.2f | %.2f | %s ", quantile(row.ratios, 0.5), quantile(row.ratios, 0.9), percentText(row.inTime, row.runs))
		fmt.Fprintf(&b, "| %s | %s | %d | %d |\n", percentText(row.enough, row.decidable), percentText(row.near, row.decidable),
			row.above, row.undecided)
	}
	return b.String()
}

// shareText is a share with its 95 % confidence interval.
func shareText(hits, tries int) string {
	if tries == 0 {
		return "–"
	}
	low, high := results.Interval95(hits, tries)
	return fmt.Sprintf("%d, %.1f %% (%.1f–%.1f)", hits, 100*float64(hits)/float64(tries), 100*low, 100*high)
}

func percentText(hits, tries int) string {
	if tries == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(hits)/float64(tries))
}

// quantile returns the smallest value that a share of all values doesn't
// exceed; NaN where there is none.
func quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(share*float64(len(sorted))))-1, 0)]
}
