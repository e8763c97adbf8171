// Package reflector is the server that helps probers: it answers plain STUN
// Binding requests, and at a prober's order it sends a burst of packets to
// where the order came from, after a silence that it measures.
//
// It can't be turned against anyone. Nothing leaves later than at once, or more
// than once, for an address that did not prove that it receives there; natprobe
// messages bring no more bytes out than came in; departures are reserved when
// an order is admitted, so that no pulse can be piled up; and all memory is
// bounded. PROTOCOL.md in package wire specifies the messages, README.md in
// this folder is the operator's guide.
//
// The rules live without sockets: a gate reads natprobe's messages and answers all that
// needs no memory, and a core has the sessions, the orders and the schedule of
// departures of those who have shown a token. Plain STUN follows RFC 8489, and RFC 5780.
// Reflector moves packets between these and any net.PacketConn; Listen opens one.
package reflector
