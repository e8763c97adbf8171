package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/natprobe/natprobe/vpn"
)

const (
	// lookups is how often a name is asked for: at a system's start the network
	// may be some seconds behind.
	lookups = 5
	// firstPause is the time between the first two; each is twice the one before.
	firstPause = time.Second
	// lookupTime bounds one of them.
	lookupTime = 10 * time.Second
)

// resolver finds addresses of names.
type resolver struct {
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// usable tells whether packets to an address have a way.
	usable func(netip.Addr) bool
	logger *slog.Logger
}

// all returns the endpoints of all peers that have one. The error joins those of
// all names.
func (r resolver) all(ctx context.Context, c *vpn.Config) (map[vpn.PublicKey]netip.AddrPort, error) {
	var (
		mu       sync.Mutex
		wg       sync.WaitGroup
		resolved = make(map[vpn.PublicKey]netip.AddrPort)
		errs     = make([]error, len(c.Peers))
	)
	for i := range c.Peers {
		p := &c.Peers[i]
		if p.Endpoint.IsZero() {
			continue
		}
		wg.Go(func() {
			ap, err := r.one(ctx, p.Endpoint)
			if err != nil {
				errs[i] = endpointError(c, p, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			resolved[p.PublicKey] = ap
		})
	}
	wg.Wait()
	return resolved, errors.Join(errs...)
}

// one resolves an endpoint, in several tries where it makes sense.
func (r resolver) one(ctx context.Context, e vpn.Endpoint) (netip.AddrPort, error) {
	if ap, ok := e.AddrPort(); ok {
		return ap, nil
	}
	pause := firstPause
	for try := 1; ; try++ {
		addrs, err := r.addresses(ctx, e.Host)
		if err == nil {
			return netip.AddrPortFrom(r.choose(addrs), e.Port), nil
		}
		var dns *net.DNSError
		if try == lookups || ctx.Err() != nil || errors.As(err, &dns) && dns.IsNotFound {
			return netip.AddrPort{}, err
		}
		r.logger.Warn("name of a peer not resolved, trying again", "host", e.Host, "try", try, "pause", pause)
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return netip.AddrPort{}, ctx.Err()
		}
	}
}

// addresses looks a name up once.
func (r resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := r.lookup(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}

// choose takes the first address that packets have a way to.
func (r resolver) choose(addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if r.usable(a) {
			return a
		}
	}
	return addrs[0]
}

// endpointError names the peer by its place in the file.
func endpointError(c *vpn.Config, p *vpn.Peer, err error) error {
	var dns *net.DNSError
	reason := err.Error()
	if errors.As(err, &dns) {
		reason = dns.Err
	}
	return &vpn.FileError{
		Place: vpn.Place{File: c.File, Line: p.Line, Key: "Endpoint"},
		Reason: fmt.Sprintf("the name %s of this peer can't be resolved: %s; check the name and the network's DNS, "+
			"or write an address", p.Endpoint.Host, reason),
	}
}

// keep is choose where one of the addresses is in use already: it is kept if
// packets still have a way to it.
func (r resolver) keep(addrs []netip.Addr, current netip.Addr) netip.Addr {
	if slices.Contains(addrs, current) && r.usable(current) {
		return current
	}
	return r.choose(addrs)
}
