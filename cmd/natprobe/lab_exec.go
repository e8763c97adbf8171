package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
)

// Exit statuses of a program that could not be started, as env(1), nohup(1) and
// the shell (POSIX) give them. A program that a signal ended gives
// exitSignalled + its number.
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignalled = 128
)

func (a *app) labExecCommand() *cobra.Command {
	var family string
	cmd := &cobra.Command{
		Use:   "exec NAME -- COMMAND...",
		Short: "Run a program as the client inside a lab",
		Long: `Run a program as the client inside a lab. It sees the lab's network and no other,
and may make devices and routes of its own there; files are those of this machine.

A reflector runs on the lab's server, and ` + reflectorVariable + ` names it, so that
natprobe itself finds it there. Names are not resolved inside: there is no DNS.
Signals are passed on to the program. The lab ends with it.

Status: the program's own; 128 + N where signal N ended it; 126 where it can't be
run, and 127 where there is no such program. Emulated labs can't have programs.`,
		Example: `  natprobe lab exec cgn -- ip route
  natprobe lab exec fast -- natprobe measure --json
  natprobe lab exec fast -- sh`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) < 2 || dash >= 0 && dash != 1 {
				return usagef("write: natprobe lab exec NAME -- COMMAND...; \"natprobe lab list\" has the names")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.labExec(cmd.Context(), args[0], family, args[1:])
		},
	}
	cmd.Flags().StringVar(&family, "family", familyAuto, "`FAMILY` of the lab's addresses: ipv4, ipv6 or auto")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w; the program and its flags come after --", err)
	})
	complete(cmd, "family", families())
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return labNames(), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

func (a *app) labExec(ctx context.Context, name, family string, command []string) error {
	if err := checkFamily(family); err != nil {
		return err
	}
	if spec, err := natlab.Lookup(name); err != nil {
		return usageError{err}
	} else if spec.Emulated {
		return usagef("lab %s is emulated inside natprobe: no other program can be in it; "+
			"it can be measured, and \"natprobe lab list\" has others, on Linux", spec.Name)
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		// Said before anything is built.
		return a.notStarted(command[0], err)
	}
	// The program may ask for any number of flows.
	limits := reflector.Limits{Pending: reflector.Unlimited}
	return a.inLab(ctx, name, family, limits, func(_ natlab.Spec, lab *natlab.Lab) error {
		cmd := exec.Command(path, command[1:]...) //nolint:gosec,noctx // the program that the user named; signals end it
		cmd.Args[0] = command[0]
		cmd.Env = append(os.Environ(), reflectorVariable+"="+labReflector(lab).String())
		cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout.to, a.stderr
		return a.attend(cmd, lab.StartClient)
	})
}

// attend starts a program, passes signals on to it, and returns its exit
// status. From then on signals are the program's business only: they don't end
// the verb.
func (a *app) attend(cmd *exec.Cmd, start func(*exec.Cmd) error) error {
	passed, heard := programSignals(cmd.Stdin)
	signals := make(chan os.Signal, len(passed)) // room for one of each
	signal.Notify(signals, passed...)
	defer signal.Stop(signals)
	if len(heard) > 0 {
		ignored := make(chan os.Signal, 1)
		signal.Notify(ignored, heard...)
		defer signal.Stop(ignored)
	}
	if err := start(cmd); err != nil {
		return a.notStarted(cmd.Args[0], err)
	}
	done := make(chan struct{})
	var relay sync.WaitGroup
	relay.Go(func() {
		for {
			select {
			case s := <-signals:
				// It fails only once the program has ended.
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	})
	err := cmd.Wait()
	close(done)
	relay.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("run %s: %w", cmd.Args[0], err)
	}
	return statusError(programStatus(cmd.ProcessState))
}

// notStarted tells why there is no program, and returns the status for that.
func (a *app) notStarted(name string, err error) error {
	var failed *exec.Error
	if errors.As(err, &failed) {
		err = failed.Err // without its name, which is said once
	}
	status := exitCannotRun
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = exitNotFound
	}
	a.say("natprobe: can't run %s: %v", name, err)
	return statusError(status)
}
