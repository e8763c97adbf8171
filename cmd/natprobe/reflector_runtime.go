package main

import (
	"runtime"
	"runtime/debug"
)

// garbagePercent is how much garbage there may be for the memory in use.
const garbagePercent = 10

// tuneRuntime sets Go's runtime up for a reflector, but for what the environment
// sets. It returns what sets it back.
func (a *app) tuneRuntime() (back func()) {
	percent, procs := 0, 0
	// Nearly all memory is orders, which last. The garbage beside them may not
	// double it, as it may in other programs.
	_, percentSet := a.env("GOGC")
	if !percentSet {
		percent = debug.SetGCPercent(garbagePercent)
	}
	// A thread that sends bursts waits in the kernel, and what Go counts as a
	// processor stays with it for up to 10 ms. With one more than there are, nobody
	// else has to wait for that: bursts were late by 3 ms (p99) on two, and by less
	// than 1 ms with a third.
	_, procsSet := a.env("GOMAXPROCS")
	if !procsSet {
		procs = runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	return func() {
		if !percentSet {
			debug.SetGCPercent(percent)
		}
		if !procsSet {
			runtime.GOMAXPROCS(procs)
		}
	}
}
