// Package wire is the protocol between a prober and a reflector: STUN (RFC
// 8489) Binding messages with natprobe attributes from the
// comprehension-optional range, encoded and decoded through pion/stun, and the
// tokens that prove an address. PROTOCOL.md beside this file specifies every
// attribute and the sizes that keep a reflector from amplifying.
package wire
