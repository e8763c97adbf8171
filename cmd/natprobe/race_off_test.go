//go:build !race

package main_test

// raceDetector: see race_on_test.go.
const raceDetector = false

// kernelsAtOnce is how many kernel labs measure at a time; they mostly wait.
const kernelsAtOnce = "20"
