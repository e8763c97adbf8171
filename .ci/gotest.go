//go:build ignore

// Gotest runs "go test" with the arguments given and prints what it would
// print. At the end it lists every test that was skipped, with its reason,
// because a kernel lab that quietly didn't run looks just like one that passed.
//
//	go run .ci/gotest.go -count=1 ./...
//
// With ALLOW_SKIP set to a regular expression, a skipped test whose name
// doesn't match it makes the run fail: for machines that can run everything.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// event is one line of "go test -json" (see "go doc test2json").
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

// test names a test; where Name is empty it stands for its whole package.
type test struct{ Package, Name string }

// skip is a test that did not run.
type skip struct {
	test
	reason string
}

// totals is what a run came to.
type totals struct {
	passed, failed int
	skips          []skip
}

func main() {
	status, err := run(os.Args[1:], os.Getenv("ALLOW_SKIP"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func run(args []string, allowSkip string) (int, error) {
	allowed, err := regexp.Compile(allowSkip)
	if err != nil {
		return 2, fmt.Errorf("ALLOW_SKIP: %w", err)
	}
	command := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := command.Start(); err != nil {
		return 1, err
	}
	sum, readErr := report(os.Stdout, output)
	waitErr := command.Wait()
	if readErr != nil {
		return 1, readErr
	}

	refused := summarise(os.Stdout, sum, func(s skip) bool {
		return allowSkip == "" || allowed.MatchString(s.Name)
	})
	var exit *exec.ExitError
	if errors.As(waitErr, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if waitErr != nil {
		return 1, waitErr
	}
	if refused > 0 {
		return 1, fmt.Errorf("%d skipped, but this machine has to run every test that ALLOW_SKIP doesn't match", refused)
	}
	return 0, nil
}

// report copies to w what go test prints for people, without the output of
// tests that passed.
func report(w io.Writer, events io.Reader) (totals, error) {
	var sum totals
	kept := make(map[test][]string)
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20) // a test may print long lines
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // not an event: go itself has something to say
			continue
		}
		t := test{cmp.Or(e.Package, e.ImportPath), e.Test}
		switch e.Action {
		case "output", "build-output":
			if !noise(e.Output) {
				kept[t] = append(kept[t], e.Output)
			}
		case "pass":
			if t.Name == "" {
				flush(w, kept, t)
			} else {
				sum.passed++
			}
			delete(kept, t)
		case "fail":
			if t.Name == "" {
				flushUnfinished(w, kept, t.Package)
			} else {
				sum.failed++
			}
			flush(w, kept, t)
		case "build-fail":
			flush(w, kept, t)
		case "skip":
			if t.Name == "" {
				flush(w, kept, t)
				break
			}
			sum.skips = append(sum.skips, skip{t, reason(kept[t])})
			delete(kept, t)
		}
	}
	return sum, lines.Err()
}

// flushUnfinished prints what the tests of a package said that never ended:
// something crashed, or time ran out.
func flushUnfinished(w io.Writer, kept map[test][]string, pkg string) {
	var names []string
	for t := range kept {
		if t.Package == pkg && t.Name != "" {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		flush(w, kept, test{pkg, name})
	}
}

// noise tells the lines that "go test" prints only because -json implies -v.
func noise(line string) bool {
	if line == "PASS\n" {
		return true
	}
	for _, prefix := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

func flush(w io.Writer, kept map[test][]string, t test) {
	for _, line := range kept[t] {
		io.WriteString(w, line)
	}
	delete(kept, t)
}

// position is the "file.go:12: " that the testing package puts before a message.
var position = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)

// reason is the message of t.Skip: the last thing that a skipped test logged.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		if position.MatchString(line) {
			return cmp.Or(strings.TrimSpace(position.ReplaceAllString(line, "")), "no reason given")
		}
	}
	return "no reason given"
}

// summarise prints the counts and the skipped tests, and returns how many of
// these were not allowed.
func summarise(w io.Writer, sum totals, allowed func(skip) bool) int {
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, len(sum.skips))
	refused := 0
	names := make(map[string][]string) // by what they have in common: the reason
	var order []string
	for _, s := range sum.skips {
		mark := "SKIPPED"
		if !allowed(s) {
			mark = "SKIPPED (not allowed here)"
			refused++
		}
		why := mark + ": " + strings.TrimLeft(strings.TrimPrefix(strings.ReplaceAll(s.reason, s.Name, "THIS TEST"), "SKIPPED"), ":, ")
		if names[why] == nil {
			order = append(order, why)
		}
		names[why] = append(names[why], fmt.Sprintf("  %s %s", s.Package, s.Name))
	}
	for _, why := range order {
		fmt.Fprintf(w, "%s\n%s\n", why, strings.Join(names[why], "\n"))
	}
	return refused
}
