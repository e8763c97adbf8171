// Package probe measures how long a NAT or firewall keeps a UDP mapping.
//
// The engine is pure: packets and time go in, packets and a record come out.
// It knows no sockets, so that the same code runs over real ones, over an
// in-memory network in fake time, and over modelled NATs. [Prober] is the thin
// shell that moves packets for it.
//
// The method follows from RFC 4787 (mapping timers and their refresh), from
// the observation that loss, outages and reboots look like expiry to anyone
// who waits for one packet, and from the rule that a wrong lifetime is worse
// than none:
//
//   - every gap of the ladder is tried at once, each on a mapping of its own;
//   - a burst that went missing counts only where its beacons arrived;
//   - an expiry counts only where each moment of its silence lies within the
//     silence of some mapping that lived: no reboot hides there.
//
// [Soaker] uses the same trials to ask one question again and again: does a
// keepalive interval hold? [EgressChecker] uses them on the reflector itself:
// after which silences does what it sends still come out of its own network?
package probe
