// Package simulate runs modelled networks in memory, fast enough for hundreds of
// whole measurements in a test.
//
// A [Network] is a client behind a row of modelled NATs, any number of servers
// outside, and a path between them with delay, jitter, loss and duplication.
// Faults can strike at any time: a NAT reboots, the link goes down, the external
// address changes. Its hosts give out net.PacketConn values that behave like UDP
// sockets, so that code under test can't tell.
//
//	client --- Inside --- NAT 0 ... NAT n-1 --- Outside --- servers
//
// All time is that of the standard library. In a testing/synctest bubble a
// mapping's 300 s pass in milliseconds and to the nanosecond. Make the network
// inside the bubble that uses it.
//
// Chance comes from the seed and from each packet's place in its own flow, not
// from the order in which goroutines happen to run: with the same seed the
// same packets are lost.
package simulate
