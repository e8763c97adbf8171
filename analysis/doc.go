// Package analysis draws conclusions from records: the interval that WireGuard's
// PersistentKeepalive should have on a network, what it costs, and how much of
// the time a peer can reach this side with it. All of it is pure functions of
// what was measured.
package analysis
