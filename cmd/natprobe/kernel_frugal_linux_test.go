package main_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// frugalNet is a lab for programs that measure in processes of their own.
func frugalNet(t *testing.T) (*kernelNet, []string) {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED BY -short: IT TAKES AS LONG AS REAL TIMERS")
	}
	n := startKernelNet(t, natlab.Spec{NATs: []natlab.NATSpec{box(4, 8)}})
	return n, []string{"measure", "--reflector", n.reflectorAddr().String(), "--quiet"}
}

// limited starts a program that may open so many files at a time.
func limited(t *testing.T, n *kernelNet, files int, program string, args ...string) *program {
	t.Helper()
	shell := []string{"-c", "ulimit -n " + strconv.Itoa(files) + " && exec \"$0\" \"$@\"", program}
	return startProgram(t, n.StartClient, "bash", append(shell, args...)...)
}

// TestKernelFewFiles: with 256 files a run holds fewer flows, says so, and is right.
func TestKernelFewFiles(t *testing.T) {
	n, args := frugalNet(t)
	file := filepath.Join(t.TempDir(), "record.jsonl")
	p := limited(t, n, 256, testProgram(t), append(args, "--output", file)...)
	<-p.done
	records, err := results.ReadRecordFile(file)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v\n%s", len(records), err, p.output())
	}
	r := records[0]
	if err := truthsOf(n.Spec()).wrong(&r); err != nil || !r.Complete {
		t.Errorf("complete %v: %v\n%s", r.Complete, err, story(&r))
	}
	if said := strings.Join(strings.Fields(p.output()), " "); !strings.Contains(said, "no more file descriptors: going on with 2") {
		t.Errorf("it doesn't say that it holds fewer flows:\n%s", p.output())
	}
}

// TestKernelNoFiles: with next to none it ends soon, and says what to do.
func TestKernelNoFiles(t *testing.T) {
	n, args := frugalNet(t)
	p := limited(t, n, 18, testProgram(t), args...)
	select {
	case <-p.done:
	case <-time.After(tunnelPatience):
		t.Fatal("it goes on with next to no sockets")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(p.output(), "ulimit -n") {
		t.Errorf("status %d:\n%s", code, p.output())
	}
}

// maxResidentMiB is what a default run may take.
const maxResidentMiB = 30

// TestKernelResidentMemory watches how much memory a default run of the program,
// as it is shipped, has resident.
func TestKernelResidentMemory(t *testing.T) {
	n, args := frugalNet(t)
	program := filepath.Join(t.TempDir(), "natprobe")
	build := goBuild("-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	build.Env = append(build.Env, "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	p := startProgram(t, n.StartClient, program, args...)
	status, most := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"), 0
	for running := true; running; {
		select {
		case <-p.done:
			running = false
		case <-time.After(200 * time.Millisecond):
			if raw, err := os.ReadFile(status); err == nil {
				most = max(most, highWater(raw))
			}
		}
	}
	t.Logf("%.1f MiB resident at most", float64(most)/1024)
	if most == 0 || most > maxResidentMiB*1024 {
		t.Errorf("%d kB were resident, want %d MiB at most:\n%s", most, maxResidentMiB, p.output())
	}
}

// highWater returns VmHWM of proc_pid_status(5), in kB; 0 where it is not there.
func highWater(status []byte) int {
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")))
			if err == nil {
				return n
			}
		}
	}
	return 0
}
