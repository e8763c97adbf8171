package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/natprobe/natprobe/results"
)

// defaultPort is STUN's (RFC 8489 section 9), and the reflector's.
const defaultPort = 3478

// target is a reflector as its user named it.
type target struct {
	host string
	port uint16
}

// parseTarget reads HOST[:PORT]. An IPv6 address with a port is in brackets.
func parseTarget(text string) (target, error) {
	bad := func(why string) (target, error) {
		return target{}, usagef("reflector %q: %s; write HOST or HOST:PORT, as vpn.example.org, 192.0.2.1:3478 or [2001:db8::1]:3478", text, why)
	}
	bare := text
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		bare = strings.TrimSuffix(inner, "]")
	}
	if addr, err := netip.ParseAddr(bare); err == nil && !strings.ContainsAny(bare, "[]") {
		return target{addr.String(), defaultPort}, nil
	}
	t := target{text, defaultPort}
	if strings.Contains(text, ":") {
		host, port, err := net.SplitHostPort(text)
		if err != nil {
			return bad("not a host with a port")
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return bad(fmt.Sprintf("%q is not a port from 1 to 65535", port))
		}
		t = target{host, uint16(number)}
	}
	if t.host == "" {
		return bad("the host is missing")
	}
	if strings.ContainsAny(t.host, "/@:?#[]\\ \t\r\n") {
		if _, err := netip.ParseAddr(t.host); err != nil {
			return bad("not the name of a host")
		}
	}
	return t, nil
}

// endpoint is a reflector's address together with the one that this machine
// uses towards it.
type endpoint struct {
	remote netip.AddrPort
	local  netip.Addr
}

// resolve finds an address of the target that this machine has a route to. Of
// a name's addresses it prefers IPv4: there are the NATs.
func (t target) resolve(ctx context.Context, family string) (endpoint, error) {
	addrs, err := t.lookup(ctx, family)
	if err != nil {
		return endpoint{}, err
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int {
		switch {
		case a.Is4() == b.Is4():
			return 0
		case a.Is4():
			return -1
		default:
			return 1
		}
	})
	var noRoute error
	for _, addr := range addrs {
		remote := netip.AddrPortFrom(addr, t.port)
		local, err := localAddr(ctx, remote)
		if err == nil {
			return endpoint{remote, local}, nil
		}
		if ctx.Err() != nil {
			return endpoint{}, ctx.Err()
		}
		noRoute = errors.Join(noRoute, err)
	}
	return endpoint{}, fmt.Errorf("%w: this machine has no route to %s (%s): is it online?",
		errUnresolved, t.host, strings.ReplaceAll(noRoute.Error(), "\n", "; "))
}

// lookup returns the target's addresses of a family: ipv4, ipv6 or auto.
func (t target) lookup(ctx context.Context, family string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(t.host); err == nil {
		addr = addr.Unmap()
		if family != familyAuto && family != familyOf(addr) {
			return nil, usagef("--family %s, but the reflector %s is an %s address", family, addr, familyWord(familyOf(addr)))
		}
		return []netip.Addr{addr}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.host)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		why := err.Error()
		var dns *net.DNSError
		if errors.As(err, &dns) {
			why = dns.Err
		}
		return nil, fmt.Errorf("%w: the name %q can't be resolved (%s): check its spelling, and that this machine is online",
			errUnresolved, t.host, why)
	}
	var addrs []netip.Addr
	for _, addr := range found {
		if addr = addr.Unmap(); family == familyAuto || family == familyOf(addr) {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%w: %q has no %s address; leave --family out to use what it has",
			errUnresolved, t.host, familyWord(family))
	}
	return addrs, nil
}

// localAddr returns the address that this machine would use towards a remote
// one. Connecting a UDP socket sends nothing.
func localAddr(ctx context.Context, remote netip.AddrPort) (netip.Addr, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", remote.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	addr, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("%s is no UDP address", conn.LocalAddr())
	}
	return addr.AddrPort().Addr().Unmap(), nil
}

// familyAuto leaves the choice to natprobe. The others are results.Family.
const familyAuto = "auto"

func familyOf(addr netip.Addr) string {
	if addr.Is4() {
		return string(results.IPv4)
	}
	return string(results.IPv6)
}

func familyWord(family string) string { return strings.Replace(family, "ip", "IP", 1) }
