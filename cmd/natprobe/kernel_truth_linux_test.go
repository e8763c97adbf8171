package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natprobe/natprobe/results"
)

var (
	truthSuite  = flag.Bool("truth", false, "run TestBenchTruth: many measurements of random labs, for minutes")
	truthSeed   = flag.Uint64("truth-seed", 1, "seed of TestBenchTruth: what its cases are")
	truthCases  = flag.Int("truth-cases", 200, "how many cases TestBenchTruth runs")
	truthOutput = flag.String("truth-output", "", "file for TestBenchTruth's table")
)

const (
	// truthBudget is given to a measurement besides truthLives of its longest
	// lifetime: faults make it begin again.
	truthBudget = time.Minute
	truthLives  = 4
	// truthOverdue is how long after its budget a process is ended.
	truthOverdue = truthStopped + 30*time.Second
)

// TestBenchTruth measures random labs, half of them with a fault in the middle, each
// by a process of its own, and compares the brackets with the truth. Each case is
// a subtest, so that -run can choose some; how many run at a time is
// -parallel's to say.
func TestBenchTruth(t *testing.T) {
	if !*truthSuite {
		t.Skip("SKIPPED: it takes many minutes; make truth runs it")
	}
	var mu sync.Mutex
	var done []truthResult
	faults := truthFaults()
	machine := readMachine(t)
	t.Run("case", func(t *testing.T) {
		for number := range *truthCases {
			t.Run(fmt.Sprintf("%03d", number), func(t *testing.T) {
				t.Parallel()
				result := newTruthCase(*truthSeed, number, faults).run(t)
				mu.Lock()
				defer mu.Unlock()
				done = append(done, result)
			})
		}
	})
	if len(done) == 0 {
		t.Fatal("no case ran")
	}
	slices.SortFunc(done, func(a, b truthResult) int { return a.number - b.number })
	text := truthTable(done) + "\n" + truthCaption(t, done, readMachine(t).since(machine))
	fmt.Printf("\n%s\n", text)
	if *truthOutput != "" {
		if err := os.WriteFile(*truthOutput, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// truthCaption says what the table rests on.
func truthCaption(t *testing.T, done []truthResult, load machineLoad) string {
	t.Helper()
	var cpu []float64
	var undone []string
	for _, r := range done {
		cpu = append(cpu, r.cpuS)
		if !r.complete {
			undone = append(undone, fmt.Sprintf("%03d", r.number))
		}
	}
	caption := fmt.Sprintf("%s, seed %d, %d measurements, %s at a time: %.0f minutes, %.0f %% of %d processors busy, %.0f %% with this. "+
		"A measurement took %.2f s of CPU (median; 90 %%: %.2f s), without its reflector.\n",
		time.Now().UTC().Format(time.DateOnly), *truthSeed, len(done), flag.Lookup("test.parallel").Value,
		load.elapsed.Minutes(), 100*load.busy, load.processors, 100*load.ours,
		quantile(cpu, 0.5), quantile(cpu, 0.9))
	if len(undone) > 0 {
		caption += fmt.Sprintf("Out of time before each regime had its bracket: cases %s.\n", strings.Join(undone, ", "))
	}
	return caption
}

// truthRun is a case under way.
type truthRun struct {
	*kernelNet
	cmd *exec.Cmd // the measuring process
}

// run measures a case, and fails where a bracket excludes the truth.
func (c truthCase) run(t *testing.T) truthResult {
	t.Helper()
	truth := truthsOf(c.spec)
	budget := truthBudget + truthLives*truth.longest()
	r := &truthRun{kernelNet: startKernelNet(t, c.spec)}
	var stdout, stderr bytes.Buffer
	r.cmd = exec.Command(os.Args[0], "measure", "--quiet", "--json",
		"--reflector", r.reflectorAddr().String(), "--budget", budget.String())
	r.cmd.Stdout, r.cmd.Stderr = &stdout, &stderr
	r.cmd.Env = append(os.Environ(), "NATPROBE_TEST_AS_PROGRAM=1", "XDG_CACHE_HOME="+t.TempDir())
	if err := r.StartClient(r.cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var beside sync.WaitGroup
	var struck []time.Duration
	if c.fault.strike != nil {
		beside.Go(func() { struck = c.strike(ctx, t, r) })
	}
	overdue := time.AfterFunc(budget+truthOverdue, func() { _ = r.cmd.Process.Kill() })
	ended := r.cmd.Wait()
	overdue.Stop()
	cancel()
	beside.Wait()

	var record results.Record
	if err := json.Unmarshal(stdout.Bytes(), &record); err != nil {
		t.Fatalf("%s: no record: %v, %v: %s", c, err, ended, stderr.String())
	}
	result := c.result(t, &record, truth)
	result.cpuS = (r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime()).Seconds()
	t.Logf("%s at %v: %s, interval %s, best %s, complete %v", c, struck, summary(&record, truth, c.spec.Loss),
		intervalText(result.interval), intervalText(result.best), record.Complete)
	if !record.Complete {
		t.Logf("%s ran out of time\n%s", c, story(&record))
	}
	if result.wrong() {
		t.Errorf("%s: %v\n%s", c, truth.wrong(&record), story(&record))
	}
	return result
}

// String says how to run the case again, and what it is.
func (c truthCase) String() string {
	return fmt.Sprintf("seed %d case %03d (%s; fault: %s)", *truthSeed, c.number, c.spec.Notation(), c.fault.name)
}

// strike lets the fault happen, and returns when each time was over.
func (c truthCase) strike(ctx context.Context, t *testing.T, r *truthRun) []time.Duration {
	t.Helper()
	begun := time.Now()
	var struck []time.Duration
	for _, at := range c.moments() {
		if !pause(ctx, at-time.Since(begun)) {
			break
		}
		if err := c.fault.strike(ctx, r, c.rng); err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", c, err)
		}
		struck = append(struck, time.Since(begun).Round(time.Millisecond))
	}
	return struck
}

// result compares a record with the truth.
func (c truthCase) result(t *testing.T, r *results.Record, truth truths) truthResult {
	t.Helper()
	result := truthResult{
		number: c.number, loss: c.spec.Loss, nats: len(c.spec.NATs),
		ports: c.ports(), strictness: c.strictness(), fault: c.fault.name,
		complete: r.Complete, events: len(r.Events),
		shortestS: truth.shortest().Seconds(), longestS: truth.longest().Seconds(), allowedS: truth.allowedS(c.spec.Loss), elapsedS: r.Effort.ElapsedS,
		best: bestInterval(t, r, truth, c.spec.Loss),
	}
	if r.Recommendation != nil {
		result.interval = r.Recommendation.KeepaliveS
	}
	for _, l := range r.Lifetimes {
		result.brackets = append(result.brackets, truthBracket{l.Regime, truth[l.Regime].Seconds(), l.LowerS, l.UpperS})
	}
	for _, trial := range r.Trials {
		result.trials++
		result.inconclusive += count(trial.Outcome == results.Inconclusive)
	}
	return result
}
