package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// The exit statuses, the same for every verb.
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2   // the command line, or what it names, can't be understood
	exitInconclusive = 3   // not enough evidence
	exitUnreachable  = 4   // no reflector there, or it refuses
	exitInterrupted  = 130 // as shells say it of SIGINT: 128 + 2
)

var (
	// errInconclusive reports that the evidence does not suffice.
	errInconclusive = errors.New("inconclusive")
	// errUnresolved reports a reflector whose name leads to no usable address.
	errUnresolved = errors.New("no such reflector")
	// errInterrupted reports that a signal ended the verb.
	errInterrupted = errors.New("interrupted")
)

// usageError is about what the user gave.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// inputError is about a file that the user named. The command line is right,
// so no help for it is offered.
type inputError struct{ err error }

func (e inputError) Error() string { return e.err.Error() }
func (e inputError) Unwrap() error { return e.err }

// guidance is a usageError that says itself, at length, what to do.
type guidance string

func (g guidance) Error() string { return string(g) }

// statusError is the exit status of another process that did the work and has
// said all there is to say.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// inconclusive returns an error where no interval is recommended. The reason is
// on standard output already, unless that has JSON for programs.
func inconclusive(r results.Recommendation, json bool) error {
	switch {
	case r.KeepaliveS != nil:
		return nil
	case json:
		return fmt.Errorf("%w: %s", errInconclusive, r.Reason)
	default:
		return fmt.Errorf("%w: not enough evidence for an interval", errInconclusive)
	}
}

// exitStatus maps an error to the status that the process ends with.
func exitStatus(err error) int {
	var status statusError
	var usage usageError
	var input inputError
	var guide guidance
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &input), errors.As(err, &guide), errors.Is(err, probe.ErrConfig):
		return exitUsage
	case errors.Is(err, errUnresolved), errors.Is(err, probe.ErrUnreachable), errors.Is(err, probe.ErrRefused), errors.Is(err, tuner.ErrNoReflector):
		return exitUnreachable
	case errors.Is(err, errInconclusive):
		return exitInconclusive
	default:
		return exitFailed
	}
}

// report tells a person why the command failed, and returns the exit status.
func report(stderr io.Writer, command string, err error) int {
	status := exitStatus(err)
	var silent statusError
	if err == nil || errors.As(err, &silent) {
		return status
	}
	text := strings.TrimPrefix(err.Error(), probe.ErrConfig.Error()+": ")
	if status == exitInterrupted && !errors.Is(err, errInterrupted) {
		text = errInterrupted.Error() // "context canceled" is for programmers
	}
	// A person can't be told where telling fails.
	_, _ = fmt.Fprintf(stderr, "natprobe: %s\n", strings.TrimSpace(text))
	var usage usageError
	if errors.As(err, &usage) || errors.Is(err, probe.ErrConfig) {
		_, _ = fmt.Fprintf(stderr, "\"%s --help\" tells more.\n", command)
	}
	return status
}
