//go:build !unix

package main

import "context"

// upInBackground isn't offered: tunnels of natprobe's own run on Linux only.
func (a *app) upInBackground(context.Context, upFlags, string) error {
	return usagef("--daemon is not offered on this system")
}

func inBackground() bool { return false }

func daemonReady() func(error) { return func(error) {} }
