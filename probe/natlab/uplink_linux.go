package natlab

import (
	"context"
	"net/netip"
	"strconv"
	"time"
)

// uplink is a way from the client to the server through a chain of boxes. All
// uplinks of a lab share both ends, each of which has a link for each of them.
type uplink struct {
	family   Family
	nats     []NATSpec
	segments []segment
	nodes    []*namespace // client, boxes from the innermost, server
	hostLink string       // on the client and on the server
	server   netip.Addr   // what the client reaches the server by, on any uplink
}

// newUplink returns an uplink that has no nodes yet.
func newUplink(family Family, way int, nats []NATSpec) *uplink {
	u := &uplink{
		family:   family,
		nats:     nats,
		segments: plan(family, len(nats), way),
		hostLink: hostLink(way),
	}
	u.server = u.last().outer
	return u
}

// build makes the links and everything that boxes and server need. The client's
// side is on then and has its address, but no route yet.
func (u *uplink) build(ctx context.Context) error {
	steps := []func(context.Context, int) error{u.prepareNode, u.joinNode, u.raiseNode, u.routeNode, u.guardNode}
	for _, step := range steps {
		for i, ns := range u.nodes {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := ns.do(func() error { return step(ctx, i) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u *uplink) prepareNode(_ context.Context, i int) error {
	return prepare(u.family, u.isBox(i))
}

// joinNode links node i to the next one outward.
func (u *uplink) joinNode(_ context.Context, i int) error {
	if i == len(u.segments) {
		return nil
	}
	return join(u.segments[i], u.outerLink(i), u.nodes[i+1], u.innerLink(i+1))
}

func (u *uplink) raiseNode(_ context.Context, i int) error {
	if i > 0 {
		inner := u.segments[i-1]
		others := inner.pool(u.addresses(i - 1))
		if err := raise(u.innerLink(i), inner.prefix, inner.outer, others, inner.innerMAC); err != nil {
			return err
		}
	}
	if i == len(u.segments) {
		return nil
	}
	if err := u.raiseOuter(i); err != nil {
		return err
	}
	outer := u.segments[i]
	for _, addr := range outer.pool(u.addresses(i))[1:] {
		if err := alias(u.outerLink(i), netip.PrefixFrom(addr, outer.prefix.Bits())); err != nil {
			return err
		}
	}
	return nil
}

// raiseOuter raises the outer link of a node, with its first address.
func (u *uplink) raiseOuter(i int) error {
	s := u.segments[i]
	return raise(u.outerLink(i), s.prefix, s.inner, []netip.Addr{s.outer}, s.outerMAC)
}

// addresses returns how many external addresses node i has.
func (u *uplink) addresses(i int) int {
	if !u.isBox(i) {
		return 1
	}
	return u.nats[i-1].Addresses
}

// routeNode runs when every link has both ends on.
func (u *uplink) routeNode(ctx context.Context, i int) error {
	if i > 0 {
		inside := u.segments[i-1]
		if err := awaitReady(ctx, u.innerLink(i), inside.outer); err != nil {
			return err
		}
		var source netip.Addr // the kernel's choice
		if i == len(u.segments) && u.server != inside.outer {
			// A program on the server that listens on all addresses
			// answers from the one that the client knows.
			source = u.server
			if err := preferSource(u.innerLink(i), inside.prefix, source); err != nil {
				return err
			}
		}
		for _, k := range visibleFrom(u.nats, i-1) {
			if err := route(u.segments[k].prefix, inside.inner, source); err != nil {
				return err
			}
		}
	}
	if i == len(u.segments) {
		return nil
	}
	if err := awaitReady(ctx, u.outerLink(i), u.segments[i].inner); err != nil {
		return err
	}
	if i == 0 {
		return nil // attach decides where the client's route leads
	}
	return route(netip.Prefix{}, u.segments[i].outer, netip.Addr{})
}

// guardNode makes a box what its spec says. The rules come first: they bring
// conntrack, and so its timers, into the namespace.
func (u *uplink) guardNode(_ context.Context, i int) error {
	if !u.isBox(i) {
		return nil
	}
	nat := u.nats[i-1]
	client := u.segments[clientSegment(u.nats, i-1)].inner
	if err := boxRules(u.family, nat, u.segments[i].pool(nat.Addresses), client); err != nil {
		return err
	}
	return writeTimers(nat)
}

// attach gives the client this uplink, as if a network had just been joined: it
// switches the link on where it was off, and sets address and default route.
func (u *uplink) attach(ctx context.Context) error {
	err := u.nodes[0].do(func() error {
		if err := u.raiseOuter(0); err != nil {
			return err
		}
		if err := awaitReady(ctx, u.hostLink, u.segments[0].inner); err != nil {
			return err
		}
		return route(netip.Prefix{}, u.segments[0].outer, netip.Addr{})
	})
	if err != nil {
		return err
	}
	// The other end was off with it, and comes back by itself; what it sends
	// before that is lost.
	return u.nodes[1].do(func() error { return awaitReady(ctx, u.innerLink(1), u.segments[0].outer) })
}

// leave takes the uplink from the client: address, routes and link. The boxes
// keep their mappings.
func (u *uplink) leave() error {
	return u.nodes[0].do(func() error {
		if err := strip(u.hostLink); err != nil {
			return err
		}
		return lower(u.hostLink)
	})
}

// cut removes the links. A namespace with an open socket would live on, so it
// is not enough to let it go. A link that isn't there yet is no error.
func (u *uplink) cut() {
	for i, ns := range u.nodes[:max(0, len(u.nodes)-1)] {
		_ = ns.do(func() error { return remove(u.outerLink(i)) })
	}
}

func (u *uplink) last() segment    { return u.segments[len(u.segments)-1] }
func (u *uplink) isBox(i int) bool { return i > 0 && i < len(u.segments) }

func (u *uplink) innerLink(i int) string {
	if u.isBox(i) {
		return lanLink
	}
	return u.hostLink
}

func (u *uplink) outerLink(i int) string {
	if u.isBox(i) {
		return wanLink
	}
	return u.hostLink
}

func writeTimers(nat NATSpec) error {
	for _, timer := range []struct {
		name string
		d    time.Duration
	}{
		{"netfilter/nf_conntrack_udp_timeout", nat.Solitary},
		{"netfilter/nf_conntrack_udp_timeout_stream", nat.Stream},
	} {
		if err := writeSysctl(timer.name, strconv.Itoa(int(timer.d/time.Second))); err != nil {
			return err
		}
	}
	return nil
}
