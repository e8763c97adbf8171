package natlab

import (
	"errors"
	"fmt"
	"time"
)

// Egress returns the shortest timer of the boxes on the server's side
// (NATSpec.ServerSide): what the server sends to a flow that was silent for
// shorter comes out without help. 0 means that nothing there forgets a flow.
func (s Spec) Egress() time.Duration {
	shortest := time.Duration(0)
	for _, nat := range defaulted(s.NATs) {
		if !nat.ServerSide {
			continue
		}
		solitary, stream := nat.timers(s.Port)
		if timer := min(solitary, stream); shortest == 0 || timer < shortest {
			shortest = timer
		}
	}
	return shortest
}

// validateServerSide reports a box of the server's side that can't be there.
func validateServerSide(nats []NATSpec) error {
	for i, nat := range nats {
		switch {
		case nat.ServerSide && !nat.None:
			return fmt.Errorf("box %d, on the server's side: only a firewall can be there, as the client knows the server by its own address", i)
		case !nat.ServerSide && i > 0 && nats[i-1].ServerSide:
			return errors.New("boxes on the server's side: they come last, next to the server")
		}
	}
	return nil
}
