package main_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

var benchLabs = flag.Bool("bench-labs", false, "run TestBenchLabs: labs with real routers' timers, for about four minutes")

// TestBenchLabs measures labs with real routers' timers at full length, all at
// the same time, and prints a table in Markdown.
func TestBenchLabs(t *testing.T) {
	if !*benchLabs {
		t.Skip("SKIPPED: it takes minutes; make bench-labs runs it")
	}
	var specs []natlab.Spec
	for _, loss := range []float64{0, 0.1} {
		for _, name := range []string{"linux-default", "openwrt"} {
			spec, err := natlab.Find(name)
			if err != nil {
				t.Fatal(err)
			}
			spec.Loss = loss
			specs = append(specs, spec)
		}
	}
	began, cpu := time.Now(), cpuSeconds(t, false)
	records := make([]*results.Record, len(specs))
	t.Run("labs", func(t *testing.T) {
		for i, spec := range specs {
			t.Run(fmt.Sprintf("%s, %.0f %% loss", spec.Name, 100*spec.Loss), func(t *testing.T) {
				t.Parallel()
				records[i] = startKernelNet(t, spec).measure(probe.Config{}, nil)
			})
		}
	})
	elapsed, used := time.Since(began), cpuSeconds(t, false)-cpu
	if t.Failed() || slices.Contains(records, nil) {
		t.Fatal("not every lab was measured")
	}

	var table strings.Builder
	table.WriteString("| lab | loss | solitary, s (true) | oneway, s (true) | exchange, s (true) | stream, s (true) " +
		"| elapsed, s | of the longest | allowed, s | mappings | packets sent | interval, s | best, s |\n")
	table.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for i, spec := range specs {
		r, truth := records[i], truthsOf(spec)
		fmt.Fprintf(&table, "| %s | %.0f %% ", spec.Name, 100*spec.Loss)
		for _, l := range r.Lifetimes {
			fmt.Fprintf(&table, "| %s (%.0f) ", bracketText(l), truth[l.Regime].Seconds())
		}
		got, best := intervals(t, r, truth, spec.Loss)
		fmt.Fprintf(&table, "| %.1f | %.2f | %.1f | %d | %d | %s | %s |\n",
			r.Effort.ElapsedS, r.Effort.ElapsedS/truth.longest().Seconds(), truth.allowedS(spec.Loss),
			r.Effort.MaxMappings, r.Effort.PacketsSent, intervalText(got), intervalText(best))
		for _, err := range []error{truth.wrong(r), wide(r)} {
			if err != nil {
				t.Errorf("%s, %.0f %% loss: %v\n%s", spec.Name, 100*spec.Loss, err, story(r))
			}
		}
		if r.Effort.ElapsedS > truth.allowedS(spec.Loss) {
			t.Logf("%s, %.0f %% loss: slower than the target\n%s", spec.Name, 100*spec.Loss, story(r))
		}
	}
	fmt.Printf("\n%s\nAll %d at the same time in one process, with their reflectors: %.1f s, %.1f s of CPU, %d MiB resident at most.\n\n",
		table.String(), len(specs), elapsed.Seconds(), used, peakMiB(t))
}

// intervals returns the interval that a record recommends, and the one that
// the same rules give who knows the lifetimes and the loss. Each is nil where
// the evidence does not suffice.
func intervals(t *testing.T, r *results.Record, truth truths, loss float64) (got, best *int) {
	t.Helper()
	in, err := analysis.InputFromRecord(*r)
	if err != nil {
		t.Fatal(err)
	}
	got, best = analysis.Recommend(in).KeepaliveS, bestInterval(t, r, truth, loss)
	if best != nil && (got == nil || *got > *best || float64(*got) < intervalShare*float64(*best)) {
		t.Errorf("recommended interval %s, want at most the best, %s, and at least %.1f of it",
			intervalText(got), intervalText(best), intervalShare)
	}
	return got, best
}

// bestInterval returns the interval that the rules give who knows the
// lifetimes and the loss of what was measured.
func bestInterval(t *testing.T, r *results.Record, truth truths, loss float64) *int {
	t.Helper()
	in, err := analysis.InputFromRecord(*r)
	if err != nil {
		t.Fatal(err)
	}
	exactly := func(regime results.Regime) analysis.Bounds {
		life := truth[regime].Seconds()
		return analysis.Bounds{LowerS: life, UpperS: &life}
	}
	in.Oneway, in.Exchange, in.Stream = exactly(results.Oneway), exactly(results.Exchange), exactly(results.Stream)
	in.LossUpper95, in.LossKnown = loss, true
	return analysis.Recommend(in).KeepaliveS
}

func intervalText(k *int) string {
	if k == nil {
		return "–"
	}
	return strconv.Itoa(*k)
}

// cpuSeconds returns the CPU time that this process has used, with that of the
// processes that it has waited for or without, in ticks of 10 ms
// (proc_pid_stat(5)).
func cpuSeconds(t *testing.T, children bool) float64 {
	t.Helper()
	return cpuSecondsOf(t, "self", children)
}

// cpuSecondsOf is cpuSeconds of another process.
func cpuSecondsOf(t *testing.T, process string, children bool) float64 {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the program's name is in parentheses before it
	fields := strings.Fields(rest)[11:15]         // utime, stime, and the same of children
	if !children {
		fields = fields[:2]
	}
	ticks := 0
	for _, field := range fields {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return float64(ticks) / 100
}

// peakMiB returns the most memory that this process had resident so far.
func peakMiB(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kib, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kib), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n / 1024
		}
	}
	t.Fatal("/proc/self/status has no VmHWM")
	return 0
}
