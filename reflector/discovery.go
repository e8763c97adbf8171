package reflector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/natprobe/natprobe/reflector/wire"
)

// Discovery is the sockets of a server with two addresses, by which clients
// find out how their NATs map and filter (RFC 5780 section 6).
type Discovery struct {
	// Conns are the sockets by address, the primary one first, and by port,
	// likewise: both addresses have both ports. Each place has one socket or
	// more; those of a place share its address and port, which isn't a wildcard.
	Conns [2][2][]net.PacketConn
	// Public are the addresses as clients see them, behind a 1:1 NAT. An
	// invalid one stands for that which the sockets are bound to.
	Public [2]netip.Addr
}

// ServeDiscovery is Serve for all sockets of d. It ends when one of them can't
// be read any more.
func (r *Reflector) ServeDiscovery(ctx context.Context, d Discovery) error {
	ports, err := d.ports()
	if err != nil {
		return fmt.Errorf("reflector: %w", err)
	}
	return r.serve(ctx, ports)
}

// ports returns d's ports, each of which knows its alternates.
func (d Discovery) ports() ([]*port, error) {
	var places [2][2][]*port
	var all []*port
	for a := range d.Conns {
		for n, conns := range d.Conns[a] {
			if len(conns) == 0 {
				return nil, errors.New("discovery: an address has no socket for one of the ports")
			}
			for _, conn := range conns {
				p := newPort(conn)
				public := p.bound
				if d.Public[a].IsValid() {
					public = netip.AddrPortFrom(d.Public[a].Unmap(), p.bound.Port())
				}
				if !public.IsValid() || public.Addr().IsUnspecified() {
					return nil, fmt.Errorf("discovery: a socket bound to %v has no address of its own to tell", conn.LocalAddr())
				}
				p.public = [2]netip.AddrPort{public, public}
				places[a][n] = append(places[a][n], p)
				all = append(all, p)
			}
		}
	}
	for a := range places {
		for n := range places[a] {
			for _, p := range places[a][n] {
				p.alternates = [4]*port{
					0:                                 p,
					wire.ChangePort:                   places[a][1-n][0],
					wire.ChangeAddr:                   places[1-a][n][0],
					wire.ChangePort | wire.ChangeAddr: places[1-a][1-n][0],
				}
			}
		}
	}
	return all, nil
}

// ListenDiscovery opens the sockets of a Discovery: on both addresses, with the
// ports of both. At the primary address and port there are so many sockets as
// ListenShared opens. Addresses and ports must differ, the family must be the
// same, and none may be a wildcard or need a zone. An error of the system is a
// *net.OpError with the address of the socket that couldn't be opened.
func ListenDiscovery(ctx context.Context, primary, alternate netip.AddrPort, sockets int) (Discovery, error) {
	var d Discovery
	if err := CheckPair(primary, alternate); err != nil {
		return d, err
	}
	for a, addr := range []netip.Addr{primary.Addr(), alternate.Addr()} {
		for n, number := range []uint16{primary.Port(), alternate.Port()} {
			count := 1
			if a == 0 && n == 0 {
				count = sockets
			}
			conns, err := ListenShared(ctx, netip.AddrPortFrom(addr, number).String(), count)
			if err != nil {
				return Discovery{}, errors.Join(err, d.Close())
			}
			d.Conns[a][n] = conns
		}
	}
	return d, nil
}

// CheckPair says what is wrong with two addresses for ListenDiscovery.
func CheckPair(primary, alternate netip.AddrPort) error {
	switch p, a := primary.Addr().Unmap(), alternate.Addr().Unmap(); {
	case p.IsUnspecified() || a.IsUnspecified():
		return errors.New("a server with two addresses needs both named, as 192.0.2.1:3478")
	case needsZone(p) || needsZone(a):
		return errors.New("link-local addresses can't be a pair: clients are told of the other address, without its zone")
	case p == a:
		return fmt.Errorf("the alternate address must differ from the primary one, both are %v", p)
	case p.Is4() != a.Is4():
		return fmt.Errorf("the alternate address must be of the same family as the primary one: %v and %v", p, a)
	case primary.Port() == alternate.Port():
		return fmt.Errorf("the alternate port must differ from the primary one, both are %d", primary.Port())
	case primary.Port() == 0 || alternate.Port() == 0:
		return errors.New("a server with two addresses needs both ports named, as both addresses have both")
	default:
		return nil
	}
}

func needsZone(addr netip.Addr) bool { return addr.Is6() && addr.IsLinkLocalUnicast() }

// Close closes all sockets of d.
func (d Discovery) Close() error {
	var errs []error
	for _, ports := range d.Conns {
		for _, conns := range ports {
			for _, conn := range conns {
				errs = append(errs, conn.Close())
			}
		}
	}
	return errors.Join(errs...)
}
