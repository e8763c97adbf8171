//go:build race

package main_test

// raceDetector: programs are several times slower, and promises of time don't
// hold for them.
const raceDetector = true

// kernelsAtOnce: fewer, as each needs several times the work.
const kernelsAtOnce = "9"
