package network

import (
	"errors"
	"slices"
	"syscall"
)

// isAny says whether err is one of these errors of the system.
func isAny(err error, numbers ...syscall.Errno) bool {
	return slices.ContainsFunc(numbers, func(n syscall.Errno) bool { return errors.Is(err, n) })
}

// isA says whether err is, or wraps, an error of type T.
func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
