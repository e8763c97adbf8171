package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/natprobe/natprobe/reflector"
)

// listening is what a reflector is to listen on.
type listening struct {
	alone []place
	pairs []addressPair
	// advertised are public addresses by family (IPv4: true), the primary one
	// first.
	advertised map[bool][]netip.Addr
}

// place is where one --listen listens.
type place struct {
	text string         // as it was given
	at   netip.AddrPort // [::]: all addresses, of both families
}

// addressPair is a server of RFC 5780.
type addressPair struct {
	primary, alternate netip.AddrPort
	public             [2]netip.Addr // invalid: the addresses themselves
}

// String returns the flags that make the pair.
func (p addressPair) String() string {
	return fmt.Sprintf("--listen %s --alternate %s", p.primary, p.alternate)
}

// listening sorts the addresses that were given, and says what is wrong with
// them.
func (f reflectorFlags) listening() (listening, error) {
	var l listening
	for _, text := range f.listen {
		at, err := reflector.ParseListen(text)
		if err != nil {
			return l, usagef("--listen %q: %w", text, err)
		}
		if err := unfit(at.Addr()); err != nil {
			return l, usagef("--listen %s: %w", text, err)
		}
		l.alone = append(l.alone, place{text, at})
	}
	for _, text := range f.alternate {
		if err := l.pair(text); err != nil {
			return l, err
		}
	}
	if err := l.overlap(); err != nil {
		return l, err
	}
	return l, l.advertise(f.advertise)
}

// pair makes a pair of an alternate address and the first place of its family
// that has an address.
func (l *listening) pair(text string) error {
	alternate, err := netip.ParseAddrPort(text)
	if err != nil {
		return usagef("--alternate %q: want IP:PORT, as 192.0.2.2:3479", text)
	}
	is4 := alternate.Addr().Unmap().Is4()
	if slices.ContainsFunc(l.pairs, func(p addressPair) bool { return p.alternate.Addr().Unmap().Is4() == is4 }) {
		return usagef("--alternate %s: there is one already; IPv4 and IPv6 can have one each", text)
	}
	i := slices.IndexFunc(l.alone, func(p place) bool {
		return p.at.Addr().Unmap().Is4() == is4 && !p.at.Addr().Unmap().IsUnspecified()
	})
	if i < 0 {
		return usagef("--alternate %s needs the primary address too: a --listen of the same family with its address, as --listen 192.0.2.1:3478", text)
	}
	p := addressPair{primary: l.alone[i].at, alternate: alternate}
	if err := reflector.CheckPair(p.primary, p.alternate); err != nil {
		return usagef("%v: %w", p, err)
	}
	if err := unfit(alternate.Addr()); err != nil {
		return usagef("--alternate %s: %w", text, err)
	}
	l.alone = slices.Delete(l.alone, i, i+1)
	l.pairs = append(l.pairs, p)
	return nil
}

// unfit says why no socket can have an address.
func unfit(addr netip.Addr) error {
	switch {
	case ofMany(addr):
		return fmt.Errorf("%s is a multicast or broadcast address; name one of this machine's own", addr)
	case needsZone(addr) && !hasInterface(addr.Zone()):
		return errors.New("a link-local address needs the zone of an interface that exists, as [fe80::1%eth0]:3478")
	case !needsZone(addr) && addr.Zone() != "":
		return fmt.Errorf("only a link-local address has a zone; leave out %%%s", addr.Zone())
	default:
		return nil
	}
}

// ofMany reports whether an address stands for many machines.
func ofMany(addr netip.Addr) bool {
	return addr.Unmap().IsMulticast() || addr.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// needsZone reports whether an address is in use on every link.
func needsZone(addr netip.Addr) bool { return addr.Unmap().Is6() && addr.IsLinkLocalUnicast() }

// hasInterface tells whether a zone, a name or a number, is of an interface.
func hasInterface(zone string) bool {
	_, err := net.InterfaceByName(zone)
	if number, notNumber := strconv.Atoi(zone); err != nil && notNumber == nil {
		_, err = net.InterfaceByIndex(number)
	}
	return err == nil
}

// overlap finds places of which one would take another's packets, which the
// system refuses.
func (l listening) overlap() error {
	for i, one := range l.alone {
		for _, p := range l.pairs {
			for _, at := range p.places() {
				if overlap(one.at, at) {
					return usagef("--listen %s would take %s again: with --alternate %s both addresses have both ports; leave that --listen out", one.text, at, p.alternate)
				}
			}
		}
		for _, other := range l.alone[:i] {
			switch {
			case !overlap(one.at, other.at):
			case one.text == other.text:
				return usagef("--listen %s is there twice; leave one out", one.text)
			default:
				return usagef("--listen %s and --listen %s take the same packets; leave one out", other.text, one.text)
			}
		}
	}
	return nil
}

// places are the four places of a pair.
func (p addressPair) places() []netip.AddrPort {
	var places []netip.AddrPort
	for _, addr := range []netip.Addr{p.primary.Addr(), p.alternate.Addr()} {
		for _, port := range []uint16{p.primary.Port(), p.alternate.Port()} {
			places = append(places, netip.AddrPortFrom(addr, port))
		}
	}
	return places
}

// overlap reports whether some packet is for both places. Of port 0 each socket
// gets another one.
func overlap(a, b netip.AddrPort) bool {
	covers := func(a, b netip.Addr) bool { return a == b || a.IsUnspecified() && (a.Is6() || b.Is4()) }
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	return a.Port() == b.Port() && a.Port() != 0 && (covers(x, y) || covers(y, x))
}

// advertise gives the public addresses to what listens.
func (l *listening) advertise(texts []string) error {
	l.advertised = make(map[bool][]netip.Addr)
	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.IsUnspecified() {
			return usagef("--advertise %q is no address; name the public one, without a port, as 192.0.2.1", text)
		}
		addr = addr.Unmap()
		family := familyWord(familyOf(addr))
		switch public := l.advertised[addr.Is4()]; {
		case ofMany(addr), addr.Zone() != "", needsZone(addr):
			return usagef("--advertise %s is no address that clients elsewhere can reach; name the public one, as 192.0.2.1", text)
		case !l.has(addr.Is4()):
			return usagef("--advertise %s: nothing listens on %s; leave it out, or add a --listen of %s", text, family, family)
		case slices.Contains(public, addr):
			return usagef("--advertise %s is there twice; leave one out, or name the other public address", text)
		default:
			l.advertised[addr.Is4()] = append(public, addr)
		}
	}
	paired := make(map[bool]bool)
	for i := range l.pairs {
		p := &l.pairs[i]
		is4 := p.primary.Addr().Unmap().Is4()
		paired[is4] = true
		switch public := l.advertised[is4]; len(public) {
		case 0:
		case 2:
			p.public = [2]netip.Addr(public)
		default:
			return usagef("--advertise gives %s to a pair of addresses; it takes two, first the one for --listen, then the one for --alternate",
				plural(len(public), familyWord(familyOf(public[0]))+" address"))
		}
	}
	for is4, public := range l.advertised {
		if !paired[is4] && len(public) > 1 {
			return usagef("--advertise %s: without --alternate there is one public address for each family", public[1])
		}
	}
	return nil
}

// has reports whether something listens on IPv4, or else on IPv6.
func (l listening) has(is4 bool) bool {
	return slices.ContainsFunc(l.alone, func(p place) bool {
		return p.at.Addr().Unmap().Is4() == is4 || p.at.Addr() == netip.IPv6Unspecified()
	}) || slices.ContainsFunc(l.pairs, func(p addressPair) bool { return p.primary.Addr().Unmap().Is4() == is4 })
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
	for _, p := range l.alone {
		conns, err := reflector.ListenShared(ctx, p.text, shared)
		if err != nil {
			return fail(listenError("--listen "+p.text, err))
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
			what := p.String()
			if system := (*net.OpError)(nil); errors.As(err, &system) && system.Addr != nil {
				what += ": " + system.Addr.String() // which of the four
			}
			return fail(listenError(what, err))
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
