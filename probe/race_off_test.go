//go:build !race

package probe_test

// seedsShare: see race_on_test.go.
const seedsShare = 1
