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
// The rules live in a core without sockets: datagrams and time in, datagrams
// out, and a schedule of departures. Reflector moves packets between the core
// and any net.PacketConn; Listen opens one.
package reflector
