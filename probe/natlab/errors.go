package natlab

import (
	"errors"
	"fmt"
)

// ErrUnavailable is wrapped by every error that means: this machine, or this
// user on it, can't have kernel labs. The text says why and what helps.
var ErrUnavailable = errors.New("kernel NAT labs aren't available here")

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, fmt.Errorf(format, args...))
}
