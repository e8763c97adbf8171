package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/natprobe/natprobe/reflector"
)

// listening is what a reflector is to listen on.
type listening struct {
	alone []string // single addresses, as they were given
	pairs []addressPair
	// advertised are public addresses by family (IPv4: true), the primary one
	// first.
	advertised map[bool][]netip.Addr
}

// addressPair is a server of RFC 5780.
type addressPair struct {
	primary, alternate netip.AddrPort
	public             [2]netip.Addr // invalid: the addresses themselves
}

// listening sorts the addresses that were given, and says what is wrong with
// them.
func (f reflectorFlags) listening() (listening, error) {
	l := listening{advertised: make(map[bool][]netip.Addr)}
	for _, text := range f.advertise {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
			return l, usagef("--advertise %q is no address; name the public one, without a port, as 192.0.2.1", text)
		}
		addr = addr.Unmap()
		l.advertised[addr.Is4()] = append(l.advertised[addr.Is4()], addr)
	}
	taken := make(map[int]bool) // --listen flags that are a pair's
	paired := make(map[bool]bool)
	for _, text := range f.alternate {
		alternate, err := netip.ParseAddrPort(text)
		if err != nil {
			return l, usagef("--alternate %q: want IP:PORT, as 192.0.2.2:3479", text)
		}
		is4 := alternate.Addr().Unmap().Is4()
		if paired[is4] {
			return l, usagef("--alternate %s: there is one already; IPv4 and IPv6 can have one each", text)
		}
		paired[is4] = true
		pair := addressPair{alternate: alternate}
		for i, text := range f.listen {
			primary, err := netip.ParseAddrPort(text)
			if err == nil && primary.Addr().Unmap().Is4() == is4 && !primary.Addr().IsUnspecified() {
				pair.primary, taken[i] = primary, true
				break
			}
		}
		if !pair.primary.IsValid() {
			return l, usagef("--alternate %s needs the primary address too: a --listen of the same family with its address, as --listen 192.0.2.1:3478", text)
		}
		if err := reflector.CheckPair(pair.primary, pair.alternate); err != nil {
			return l, usagef("--listen %s --alternate %s: %w", pair.primary, pair.alternate, err)
		}
		switch public := l.advertised[is4]; len(public) {
		case 0:
		case 2:
			pair.public = [2]netip.Addr(public)
		default:
			return l, usagef("--advertise is there %d times for a pair of addresses; it takes two, first the one for --listen, then the one for --alternate", len(public))
		}
		l.pairs = append(l.pairs, pair)
	}
	for is4, public := range l.advertised {
		if !paired[is4] && len(public) > 1 {
			return l, usagef("--advertise %s: without --alternate there is one public address for each family", public[1])
		}
	}
	for i, text := range f.listen {
		if !taken[i] {
			l.alone = append(l.alone, text)
		}
	}
	return l, l.twice()
}

// twice finds an address that would be listened on twice.
func (l listening) twice() error {
	seen := make(map[netip.AddrPort]bool)
	for _, p := range l.pairs {
		for _, addr := range []netip.Addr{p.primary.Addr(), p.alternate.Addr()} {
			for _, port := range []uint16{p.primary.Port(), p.alternate.Port()} {
				seen[netip.AddrPortFrom(addr.Unmap(), port)] = true
			}
		}
	}
	for _, text := range l.alone {
		at, err := netip.ParseAddrPort(text)
		at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		if err != nil || at.Port() == 0 { // what is no address at all is told by the listener
			continue
		}
		if seen[at] {
			return usagef("--listen %s is there twice: with --alternate, both addresses have both ports already", text)
		}
		seen[at] = true
	}
	return nil
}

// public returns the advertised address of a listener's family.
func (l listening) public(listener netip.Addr) (netip.Addr, bool) {
	public := l.advertised[listener.Unmap().Is4()]
	if len(public) == 0 && listener.IsUnspecified() {
		public = l.advertised[!listener.Unmap().Is4()] // a listener for both families
	}
	if len(public) == 0 {
		return netip.Addr{}, false
	}
	return public[0], true
}

// advertisedAlone returns the public addresses of the families that have no
// pair of addresses.
func (l listening) advertisedAlone() []netip.Addr {
	var alone []netip.Addr
	for is4, public := range l.advertised {
		if !slices.ContainsFunc(l.pairs, func(p addressPair) bool { return p.primary.Addr().Unmap().Is4() == is4 }) {
			alone = append(alone, public...)
		}
	}
	return alone
}

// server is an open set of sockets.
type server struct {
	conns []net.PacketConn // one to name each place at which it listens
	serve func(context.Context, *reflector.Reflector) error
	close func()
}

// open opens the sockets. At most so many share the address that probers use.
func (l listening) open(ctx context.Context, shared int) ([]server, error) {
	var servers []server
	fail := func(err error) ([]server, error) {
		for _, s := range servers {
			s.close()
		}
		return nil, err
	}
	for _, address := range l.alone {
		conns, err := reflector.ListenShared(ctx, address, shared)
		if err != nil {
			return fail(listenError("--listen", address, err))
		}
		servers = append(servers, server{
			conns: conns[:1],
			serve: func(ctx context.Context, r *reflector.Reflector) error { return r.ServeShared(ctx, conns) },
			close: func() {
				for _, conn := range conns {
					_ = conn.Close() // nothing is buffered in a UDP socket
				}
			},
		})
	}
	for _, p := range l.pairs {
		d, err := reflector.ListenDiscovery(ctx, p.primary, p.alternate, shared)
		if err != nil {
			return fail(listenError("--listen "+p.primary.String()+" --alternate", p.alternate.String(), err))
		}
		d.Public = p.public
		servers = append(servers, server{
			conns: []net.PacketConn{d.Conns[0][0][0], d.Conns[0][1][0], d.Conns[1][0][0], d.Conns[1][1][0]},
			serve: func(ctx context.Context, r *reflector.Reflector) error { return r.ServeDiscovery(ctx, d) },
			close: func() { _ = d.Close() },
		})
	}
	return servers, nil
}

// serveAll serves everything until ctx is done, or until one part fails: then
// it ends the others too and returns why.
func serveAll(ctx context.Context, r *reflector.Reflector, servers []server) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	failures := make([]error, len(servers))
	for i, s := range servers {
		all.Go(func() {
			defer stop()
			failures[i] = s.serve(serving, r)
		})
	}
	all.Wait()
	return errors.Join(failures...)
}
