package main

import (
	"runtime"
	"runtime/debug"
)

const (
	// garbagePercent is how much garbage there may be for the memory in use: nearly
	// all of it is orders, which last, and the garbage beside them may not double it.
	garbagePercent = 10
	// ballast counts as memory in use, though nobody touches it and no page is
	// spent on it. Without it a reflector that holds little would collect garbage
	// for every 400 kB, which is all that it does in a flood.
	ballast = 64 << 20
)

// tuneRuntime sets Go's runtime up for a reflector, but for what the environment
// sets. It returns what sets it back.
func (a *app) tuneRuntime() (back func()) {
	var undo []func()
	if _, set := a.env("GOGC"); !set {
		percent, memory := debug.SetGCPercent(garbagePercent), make([]byte, ballast)
		undo = append(undo, func() {
			debug.SetGCPercent(percent)
			runtime.KeepAlive(memory)
		})
	}
	// A thread that sends bursts waits in the kernel, and what Go counts as a
	// processor stays with it for up to 10 ms. With one more than there are, nobody
	// else has to wait for that: bursts were late by 3 ms (p99) on two, and by 1 ms
	// with a third.
	if _, set := a.env("GOMAXPROCS"); !set {
		procs := runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
		undo = append(undo, func() { runtime.GOMAXPROCS(procs) })
	}
	return func() {
		for _, f := range undo {
			f()
		}
	}
}
