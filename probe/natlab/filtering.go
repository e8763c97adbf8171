package natlab

import (
	"errors"
	"fmt"
	"time"
)

// Filtering says which remote endpoints may send to an endpoint inside of a box,
// in the words of RFC 4787 section 5. The zero value is address-and-port-dependent
// filtering, which conntrack does: only what belongs to a flow comes in.
type Filtering string

// The other kinds of filtering.
const (
	// AddressDependent lets in what comes from an address to which the endpoint
	// inside has sent lately, whatever the port.
	AddressDependent Filtering = "address-dependent"
	// EndpointIndependent lets everything in.
	EndpointIndependent Filtering = "endpoint-independent"
)

// lifetimes returns for how long after a flow to a port fell silent its server
// still gets in; 0 means always.
func (n NATSpec) lifetimes(port uint16) (solitary, stream time.Duration) {
	solitary, stream = n.timers(port)
	switch n.Filtering {
	case AddressDependent:
		// As long as the flow or the permission lasts, whichever is longer.
		return max(solitary, stream), stream
	case EndpointIndependent:
		return 0, 0
	}
	return solitary, stream
}

// validateFiltering reports what a box can't have together with its filtering.
func (n NATSpec) validateFiltering() error {
	switch n.Filtering {
	case "":
		return nil
	case AddressDependent, EndpointIndependent:
	default:
		return fmt.Errorf("filtering %q: must be %q or %q, or nothing for address-and-port-dependent",
			n.Filtering, AddressDependent, EndpointIndependent)
	}
	switch {
	case n.RandomPorts || n.Ports > 0:
		return fmt.Errorf("filtering %s: the box must preserve ports, for where a packet belongs to no flow only its port tells whose it is", n.Filtering)
	case n.DNS > 0:
		return fmt.Errorf("filtering %s: whom the box lets in doesn't depend on the server's port, so flows to DNS's have no timer of their own", n.Filtering)
	case n.ServerSide:
		return errors.New("filtering: a firewall on the server's side lets out only what belongs to flows that came in")
	}
	return nil
}

// validateFilters reports a box that lets in what belongs to no flow, and can't
// know to which address inside.
func validateFilters(nats []NATSpec) error {
	for k, nat := range nats {
		if client := clientSegment(nats, k); nat.Filtering != "" && !nat.None && client > 0 && nats[client-1].Addresses > 1 {
			return fmt.Errorf("box %d: filtering %s: box %d, inside of it, has several addresses, and what belongs to no flow could be for any",
				k, nat.Filtering, client-1)
		}
	}
	return nil
}
