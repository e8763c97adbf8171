//go:build !linux

package main

import (
	"io"
	"os"
)

// Programs run in kernel labs only, and these are Linux's: nothing here is ever
// called for one that runs.

func programSignals(io.Reader) (passed, heard []os.Signal) { return []os.Signal{os.Interrupt}, nil }

func programStatus(state *os.ProcessState) int { return state.ExitCode() }
