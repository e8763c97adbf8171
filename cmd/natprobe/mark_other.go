//go:build !linux

package main

import "syscall"

// setMark does nothing: other systems have no such mark.
func setMark(syscall.RawConn, uint32) error { return nil }
