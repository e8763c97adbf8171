package natlab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkDeadline bounds the wait for a link that was switched on again.
const linkDeadline = 5 * time.Second

// FlushConntrack makes box i (0: the innermost) forget all its mappings at
// once, as a reboot does.
func (l *Lab) FlushConntrack(i int) error {
	return l.withBox(i, func(ns *namespace) error {
		err := ns.do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
			return unavailable("this kernel can't flush conntrack (%w); try `sudo modprobe nf_conntrack_netlink`", err)
		}
		if err != nil {
			return fmt.Errorf("flush conntrack of NAT %d: %w", i, err)
		}
		return nil
	})
}

// SetTimers changes the timers of box i, in whole seconds; 0 means the
// kernel's default. They take effect on a mapping with its next packet.
func (l *Lab) SetTimers(i int, solitary, stream time.Duration) error {
	nat := NATSpec{Solitary: solitary, Stream: stream}.withDefaults()
	if err := nat.validateTimers(); err != nil {
		return err
	}
	return l.withBox(i, func(ns *namespace) error {
		return ns.do(func() error { return writeTimers(nat) })
	})
}

// SetLoss changes the share of packets lost outside of all boxes, 0 to 1:
// toward the server, and toward the client. 1 and 1 make an outage that no
// host's own link shows. It holds for both uplinks.
func (l *Lab) SetLoss(outbound, inbound float64) error {
	if err := errors.Join(validateLoss("outbound loss", outbound), validateLoss("inbound loss", inbound)); err != nil {
		return err
	}
	return l.withServer(func(*namespace) error { return l.setLoss(outbound, inbound) })
}

// setLoss drops on arrival at both ends of the outermost links. Where there is
// no loss and never was, it sets no rules, so that a kernel without random
// numbers in nftables does for all other labs.
func (l *Lab) setLoss(outbound, inbound float64) error {
	l.lossMu.Lock()
	defer l.lossMu.Unlock()
	var serverLinks []string
	for _, u := range l.uplinks {
		last := len(u.segments)
		serverLinks = append(serverLinks, u.hostLink)
		if err := l.loseAt(u.nodes[last-1], []string{u.outerLink(last - 1)}, inbound); err != nil {
			return err
		}
	}
	nodes := l.uplinks[usual].nodes
	return l.loseAt(nodes[len(nodes)-1], serverLinks, outbound)
}

func (l *Lab) loseAt(ns *namespace, links []string, loss float64) error {
	if loss == 0 && !l.lossy[ns] {
		return nil
	}
	if err := ns.do(func() error { return lossRules(l.spec.Family, links, loss) }); err != nil {
		return err
	}
	l.lossy[ns] = true
	return nil
}

// SetLink switches the client's own link off, or on again: the one where it is
// now. While it is off, sending fails with "network is unreachable"; switched
// on, the client gets its address and route back as from DHCP. The boxes keep
// their mappings.
func (l *Lab) SetLink(up bool) error {
	return l.with(0, func(client *namespace) error {
		l.linkMu.Lock()
		defer l.linkMu.Unlock()
		u := l.uplinks[l.at]
		if !up {
			return client.do(func() error { return lower(u.hostLink) })
		}
		ctx, cancel := context.WithTimeout(context.Background(), linkDeadline)
		defer cancel()
		return u.attach(ctx)
	})
}

// Move takes the client to another network, as a laptop leaves one Wi-Fi for
// another: 0 is the usual uplink, 1 the one elsewhere (Spec.Elsewhere). The old
// link loses its address and goes off, then the other one comes on with an
// address and the default route. The boxes of both keep their mappings. Moving
// to where the client is leaves everything as it is.
func (l *Lab) Move(i int) error {
	return l.with(0, func(*namespace) error {
		if i < 0 || i >= len(l.uplinks) {
			return fmt.Errorf("lab %q has no uplink %d: it has %d", l.spec.Name, i, len(l.uplinks))
		}
		l.linkMu.Lock()
		defer l.linkMu.Unlock()
		if i == l.at {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), linkDeadline)
		defer cancel()
		if err := l.uplinks[l.at].leave(); err != nil {
			return err
		}
		l.at = i
		return l.uplinks[i].attach(ctx)
	})
}

func (l *Lab) withBox(i int, fn func(*namespace) error) error {
	if i < 0 || i >= len(l.spec.NATs) {
		return fmt.Errorf("lab %q has no NAT %d: it has %d", l.spec.Name, i, len(l.spec.NATs))
	}
	return l.with(i+1, fn)
}
