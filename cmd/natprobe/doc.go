// Command natprobe measures how long the NATs and firewalls on a path keep an
// idle UDP mapping, and recommends a PersistentKeepalive for WireGuard.
//
// Each verb has a file of its own. Files render_*.go turn what the verbs found
// out into text for people.
package main
