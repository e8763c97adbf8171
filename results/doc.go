// Package results holds what natprobe measures and concludes: records, trials,
// outcomes, lifetimes and recommendations, the bracket that a set of trials
// proves, and the JSON Lines files in which records are kept. Everything else
// in natprobe speaks in these types.
package results
