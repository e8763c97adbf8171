// Package tuner keeps the PersistentKeepalive of a WireGuard interface right
// while its machine moves between networks.
//
// In a network that it knows it sets the remembered interval at once, in a new
// one a safe one. Then it has the path measured on flows of its own, sets what
// is recommended, tries now and then with a few flows whether that still holds,
// and goes down at once where it doesn't or where the peer has gone silent.
// Every change has a reason, which is logged and shown.
//
// The package decides and nothing else. It measures through a Measurer, sets
// through an Applier, and knows networks by what a Locator tells; time is the
// standard library's, so that days of it pass at once in a synctest bubble.
package tuner
