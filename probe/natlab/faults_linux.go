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
// host's own link shows.
func (l *Lab) SetLoss(outbound, inbound float64) error {
	if err := errors.Join(validateLoss("outbound loss", outbound), validateLoss("inbound loss", inbound)); err != nil {
		return err
	}
	return l.with(l.server(), func(*namespace) error { return l.setLoss(outbound, inbound) })
}

// setLoss drops on arrival at both ends of the outermost link. Where there is
// no loss and never was, it sets no rules, so that a kernel without random
// numbers in nftables does for all other labs.
func (l *Lab) setLoss(outbound, inbound float64) error {
	l.lossMu.Lock()
	defer l.lossMu.Unlock()
	last := l.server()
	for _, end := range []struct {
		node int
		link string
		loss float64
		was  *bool
	}{
		{last, l.innerLink(last), outbound, &l.lossyOut},
		{last - 1, l.outerLink(last - 1), inbound, &l.lossyIn},
	} {
		if end.loss == 0 && !*end.was {
			continue
		}
		err := l.nodes[end.node].do(func() error { return lossRules(l.spec.Family, end.link, end.loss) })
		if err != nil {
			return err
		}
		*end.was = true
	}
	return nil
}

// SetLink switches the client's own link off, or on again. While it is off,
// sending fails with "network is unreachable"; switched on, the client gets
// its address and route back as from DHCP. The boxes keep their mappings.
func (l *Lab) SetLink(up bool) error {
	return l.with(0, func(client *namespace) error {
		if !up {
			return client.do(func() error { return lower(hostLink) })
		}
		ctx, cancel := context.WithTimeout(context.Background(), linkDeadline)
		defer cancel()
		err := client.do(func() error {
			if err := raise(hostLink, l.segments[0], true); err != nil {
				return err
			}
			return l.routeNode(ctx, 0)
		})
		if err != nil {
			return err
		}
		// The other end was off with it, and comes back by itself; what it
		// sends before that is lost.
		return l.nodes[1].do(func() error { return awaitReady(ctx, l.innerLink(1), l.segments[0].outer) })
	})
}

func (l *Lab) withBox(i int, fn func(*namespace) error) error {
	if i < 0 || i >= len(l.spec.NATs) {
		return fmt.Errorf("lab %q has no NAT %d: it has %d", l.spec.Name, i, len(l.spec.NATs))
	}
	return l.with(i+1, fn)
}
