package natlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// nobody is a user without privileges.
	nobody = 65534

	// Exit statuses of the child, none of which anything else gives.
	exitEchoed, exitSignalled, exitUnavailable = 42, 43, 44
)

// TestEnterUserNamespace runs this program as a user without privileges and
// checks that it gets a lab, that its exit status comes back, that a signal to
// the outer process reaches the inner one, once, and that neither outlives the
// other.
func TestEnterUserNamespace(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 || os.Getenv(insideMark) != "" {
		t.Skip("SKIPPED, TestEnterUserNamespace NEEDS ROOT, to become somebody else")
	}
	for _, test := range []struct {
		name, arg string
		signal    os.Signal
		want      int
	}{
		{"exit status", "echo", nil, exitEchoed},
		{"interrupt", "wait", os.Interrupt, exitSignalled},
		{"termination", "wait", unix.SIGTERM, exitSignalled},
		{"killed inside", "die", nil, 128 + int(unix.SIGKILL)},
		{"killed outside", "wait", os.Kill, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, "/proc/self/exe", test.arg)
			cmd.Env = append(os.Environ(), childTask+"=userns")
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); errors.Is(err, os.ErrPermission) {
				t.Skipf("SKIPPED, %s NEEDS ROOT, to become somebody else: %v", t.Name(), err)
			} else if err != nil {
				t.Fatal(err)
			}
			// The child says when it is ready for a signal, or ends.
			said := bufio.NewReader(stdout)
			ready, _ := said.ReadString('\n')
			if test.signal != nil && ready != "" {
				if err := cmd.Process.Signal(test.signal); err != nil {
					t.Error(err)
				}
			}
			// Its end is seen once both processes are gone.
			rest, err := io.ReadAll(said)
			if err != nil || len(rest) > 0 {
				t.Errorf("after the signal it said %q, %v", rest, err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			got := cmd.ProcessState.ExitCode()
			if got == exitUnavailable {
				t.Skipf("SKIPPED, %s NEEDS USER NAMESPACES: %s", t.Name(), stderr.String())
			}
			if got != test.want {
				t.Errorf("exit status %d, want %d; it said %q %q", got, test.want, ready, stderr.String())
			}
		})
	}
}

// userNamespaceChild is what the other process does.
func userNamespaceChild() int {
	signals := make(chan os.Signal, 1)
	inside := os.Getenv(insideMark) != ""
	if inside {
		signal.Notify(signals, os.Interrupt, unix.SIGTERM)
	}
	ran, code, err := EnterUserNamespace(context.Background(), os.Args[1:])
	if errors.Is(err, ErrUnavailable) {
		fmt.Fprintln(os.Stderr, err)
		return exitUnavailable
	}
	if err != nil || ran {
		fmt.Fprintln(os.Stderr, err)
		return code
	}
	if !inside {
		fmt.Fprintln(os.Stderr, "a user without privileges was taken for one with them")
		return 1
	}
	l, err := Start(context.Background(), Spec{NATs: []NATSpec{shortBox, {None: true}}, Loss: 1e-6})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer l.Close()
	switch os.Args[1] {
	case "echo":
		if err := errors.Join(l.FlushConntrack(0), l.SetLink(false), l.SetLink(true)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return exitEchoed
	case "wait":
		fmt.Println("ready")
		select {
		case <-signals:
		case <-time.After(patience):
			fmt.Println("no signal came")
			return 1
		}
		// Exactly one signal comes.
		select {
		case <-signals:
			return 1
		case <-time.After(100 * time.Millisecond):
			return exitSignalled
		}
	case "die":
		// Nothing sensible is left to do where this fails.
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		<-signals
	}
	return 1
}

// TestPrivileged checks the test that decides whether to start over inside a
// user namespace: wrong one way there would be no lab, wrong the other way a
// process would start itself without end.
func TestPrivileged(t *testing.T) {
	got := privileged()
	if os.Getenv(insideMark) != "" && !got {
		t.Error("root of its own user namespace isn't taken for privileged")
	}
	l, err := Start(t.Context(), Spec{})
	if err == nil {
		defer l.Close()
	}
	if got && errors.Is(err, ErrUnavailable) {
		t.Skipf("SKIPPED, TestPrivileged NEEDS A KERNEL LAB: %v", err)
	}
	if err != nil && got {
		t.Errorf("taken for privileged, but Start says %v", err)
	}
}
