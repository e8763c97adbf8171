package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/natprobe/natprobe/probe/natlab"
)

// needKernelLab skips a test of a verb where this process may not make labs:
// there the verb would start the test binary again. The test then runs inside
// TestKernelLabsAsUser.
func needKernelLab(t *testing.T) {
	t.Helper()
	lab, err := natlab.Start(t.Context(), natlab.Spec{})
	if errors.Is(err, natlab.ErrUnavailable) {
		t.Skipf("SKIPPED, %s NEEDS A KERNEL LAB (TestKernelLabsAsUser has run it where it passed): %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestKernelLabExec runs programs inside labs.
func TestKernelLabExec(t *testing.T) {
	t.Parallel()
	needKernelLab(t)
	for _, test := range []struct {
		name   string
		lab    []string
		script string
		want   told
	}{
		{"status and streams", []string{"fast"}, "cat; echo err >&2; exit 7", told{7, "typed", "err\n"}},
		{"done", []string{"open"}, "exit 0", told{}},
		{"ended by a signal", []string{"fast"}, "kill -TERM $$", told{exitSignalled + int(unix.SIGTERM), "", ""}},
		{"network", []string{"cgn"}, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' \n'", told{0, "loeth0", ""}},
		{"reflector", []string{"fast"}, "echo $" + reflectorVariable, told{0, "203.0.113.1:3478\n", ""}},
		{"IPv6", []string{"--family", "ipv6", "fast"}, "echo $" + reflectorVariable, told{0, "[2001:db8:1::1]:3478\n", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := append(append([]string{"lab", "exec"}, test.lab...), "--", "sh", "-c", test.script)
			if got := natprobe(t.Context(), nil, "typed", args...); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// TestKernelLabExecReflector checks that the lab's reflector answers the
// program.
func TestKernelLabExecReflector(t *testing.T) {
	t.Parallel()
	needKernelLab(t)
	// A STUN request by hand (RFC 8489 section 5), and the first byte and the
	// type of what comes back: a Binding success response.
	const request = `\000\001\000\000\041\022\244\102abcdefghijkl`
	script := `exec 3<>/dev/udp/${` + reflectorVariable + `%:*}/${` + reflectorVariable + `##*:}
printf '` + request + `' >&3; head -c 2 <&3 | od -An -tx1`
	got := natprobe(t.Context(), nil, "", "lab", "exec", "fast", "--", "bash", "-c", script)
	if got.status == exitNotFound {
		t.Skipf("SKIPPED, %s NEEDS bash: %s", t.Name(), got.stderr)
	}
	if want := (told{0, " 01 01\n", ""}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestKernelLabExecSignals checks that signals to natprobe reach the program.
func TestKernelLabExecSignals(t *testing.T) {
	t.Parallel()
	needKernelLab(t)
	stdout := newTail()
	status := make(chan int, 1)
	go func() {
		var stderr bytes.Buffer
		args := []string{"lab", "exec", "fast", "--", "sh", "-c", `trap 'echo caught; exit 5' WINCH; echo ready; while :; do sleep 0.1; done`}
		status <- run(context.Background(), args, os.LookupEnv, strings.NewReader(""), stdout, &stderr)
	}()
	if ready, err := stdout.firstLine(t.Context()); err != nil || ready != "ready" {
		t.Fatalf("the program said %q (%v), want that it is ready", ready, err)
	}
	// Programs of other tests get it too: it must be one that ends none.
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != 5 || !strings.Contains(stdout.text(), "caught") {
		t.Errorf("status %d, said %q; want 5, and that it caught the signal", got, stdout.text())
	}
}

// TestLabExecNotStarted checks what cannot be run, before any lab is built.
func TestLabExecNotStarted(t *testing.T) {
	t.Parallel()
	plain := writeFile(t, "plain", "not a program\n")
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"fast -- no-such-program", exitNotFound, "can't run no-such-program"},
		{"fast -- ./no-such-program", exitNotFound, "can't run ./no-such-program"},
		{"fast -- " + plain, exitCannotRun, "permission denied"},
		{"fast", exitUsage, "natprobe lab exec NAME -- COMMAND"},
		{"-- fast sh", exitUsage, "natprobe lab exec NAME -- COMMAND"},
		{"fast sh -c true", exitUsage, "come after --"},
		{"nowhere -- sh", exitUsage, `no lab is called "nowhere"`},
		{"--family ipv5 fast -- sh", exitUsage, `"ipv5"`},
	} {
		got := natprobe(t.Context(), nil, "", append([]string{"lab", "exec"}, strings.Fields(test.args)...)...)
		if got.status != test.status || !strings.Contains(got.stderr, test.says) {
			t.Errorf("lab exec %s: status %d, stderr %q; want %d and %q", test.args, got.status, got.stderr, test.status, test.says)
		}
	}
}
