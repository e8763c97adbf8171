package natlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// insideMark is set in the environment of the process that
	// EnterUserNamespace starts, so that it doesn't start another.
	insideMark = "NATPROBE_LAB_USERNS"

	// stopGrace is how long that process may take to end by itself after ctx
	// is done: longer than a prober needs to save what it has.
	stopGrace = 10 * time.Second
)

// EnterUserNamespace lets a user without privileges have labs: it runs this
// program again, with args (os.Args[1:] as a rule) and the same standard input,
// output and error, as root of a user namespace of its own, waits for it, and
// returns its exit status (128 + n where signal n ended it). The caller then
// exits with that status. Signals to this process are passed on; when ctx is
// done, SIGTERM is.
//
// ran is false where there is nothing to do, because this process can make
// labs already, or is the one inside. It is also false with an error, which
// wraps ErrUnavailable, where the system doesn't allow user namespaces.
//
// Inside, the program has no network but that of its labs, and owns files as
// its user, though it is told that it is root.
func EnterUserNamespace(ctx context.Context, args []string) (ran bool, exitCode int, err error) {
	if os.Getenv(insideMark) != "" || privileged() {
		return false, 0, nil
	}
	// Catch signals before there is someone to pass them to, so that none is
	// lost in between. The channel has room for one of each.
	passed := []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH}
	signals := make(chan os.Signal, len(passed))
	signal.Notify(signals, passed...)
	defer signal.Stop(signals)

	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...) //nolint:gosec // this program, with the arguments its user gave it
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideMark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = stopGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// The network namespace has to belong to the new user namespace:
		// nobody may come back to one of a user namespace further out.
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		// A session of its own: Ctrl-C reaches it through us, exactly once.
		Setsid:    true,
		Pdeathsig: unix.SIGKILL,
	}
	// The death signal comes when the thread that started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return false, 0, unavailable("can't make a user namespace (%w); %s", err, permissionAdvice())
	}
	done := make(chan struct{})
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		for {
			select {
			case s := <-signals:
				// It fails only once the process has ended.
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	<-relayed

	var exit *exec.ExitError
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return true, 128 + int(status.Signal()), nil
	}
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, ctx.Err()) {
		return true, cmd.ProcessState.ExitCode(), fmt.Errorf("run inside a user namespace: %w", err)
	}
	return true, cmd.ProcessState.ExitCode(), nil
}

// privileged reports whether this process can make labs as it is: it may come
// back to its own network namespace after it was in another, and may set up
// networks. Being root isn't the same: a container's root often can't, and a
// user namespace's root may sit in a network that belongs to someone else.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil || caps[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return false
	}
	return onOwnThread(func() error {
		here, err := openThreadNetNS()
		if err != nil {
			return err
		}
		return errors.Join(unix.Setns(here, unix.CLONE_NEWNET), unix.Close(here))
	}) == nil
}

// permissionAdvice says what the user can do who isn't allowed namespaces.
func permissionAdvice() string {
	for _, limit := range []struct{ name, blocks, advice string }{
		{"kernel/apparmor_restrict_unprivileged_userns", "1",
			"run as root, or allow user namespaces: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
		{"kernel/unprivileged_userns_clone", "0",
			"run as root, or allow user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1"},
		{"user/max_user_namespaces", "0",
			"run as root, or allow user namespaces: sudo sysctl user.max_user_namespaces=10000"},
		{"user/max_net_namespaces", "0",
			"allow network namespaces: sudo sysctl user.max_net_namespaces=10000"},
	} {
		value, err := os.ReadFile("/proc/sys/" + limit.name)
		if err == nil && strings.TrimSpace(string(value)) == limit.blocks {
			return limit.advice
		}
	}
	return "run as root (sudo); inside a container, it needs the right to make namespaces (docker run --privileged)"
}
