//go:build freebsd && !cgo

package wgapply

import "errors"

// connect always fails: of all systems, wgctrl needs cgo on FreeBSD only, and
// natprobe is built without.
func connect() (control, error) {
	return nil, errors.New("natprobe doesn't reach existing WireGuard interfaces on FreeBSD; " +
		"set the interval with wg set NAME peer KEY persistent-keepalive SECONDS")
}
