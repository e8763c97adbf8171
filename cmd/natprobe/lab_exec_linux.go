package main

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// programSignals returns the signals to pass on to a program with that input,
// and those that it hears by itself: where the input is the terminal that this
// process is at, Ctrl-C and the like reach both.
func programSignals(stdin io.Reader) (passed, heard []os.Signal) {
	passed = []os.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2}
	typed := []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGWINCH}
	if atTerminal(stdin) {
		return passed, typed
	}
	return append(passed, typed...), nil
}

// atTerminal reports whether a reader is the terminal whose keys are signals to
// this process: its controlling terminal, with this process in the foreground.
func atTerminal(stdin io.Reader) bool {
	file, ok := stdin.(*os.File)
	if !ok {
		return false
	}
	foreground, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

// programStatus returns the exit status of a program that has ended.
func programStatus(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignalled + int(status.Signal())
	}
	return state.ExitCode()
}
