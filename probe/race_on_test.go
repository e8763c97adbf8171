//go:build race

package probe_test

// seedsShare is which part of the seeds runs: it looks for races, and the rest
// runs without the detector, several times faster.
const seedsShare = 4
