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

func (l *kernelLab) flush(box int) error {
	return l.with(box+1, func(ns *namespace) error {
		err := ns.do(func() error {
			if l.spec.NATs[box].Filtering == AddressDependent {
				if err := forgetPermissions(l.spec.Family); err != nil {
					return err
				}
			}
			return netlink.ConntrackTableFlush(netlink.ConntrackTable)
		})
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
			return unavailable("this kernel can't flush conntrack (%w); try `sudo modprobe nf_conntrack_netlink`", err)
		}
		if err != nil {
			return fmt.Errorf("flush conntrack of NAT %d: %w", box, err)
		}
		return nil
	})
}

func (l *kernelLab) setTimers(box int, timers NATSpec) error {
	return l.with(box+1, func(ns *namespace) error {
		return ns.do(func() error { return writeTimers(timers) })
	})
}

func (l *kernelLab) setLoss(outbound, inbound float64) error {
	return l.with(0, func(*namespace) error { return l.lose(outbound, inbound) })
}

// lose drops on arrival at both ends of the outermost links. Where there is
// no loss and never was, it sets no rules, so that a kernel without random
// numbers in nftables does for all other labs.
func (l *kernelLab) lose(outbound, inbound float64) error {
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

func (l *kernelLab) loseAt(ns *namespace, links []string, loss float64) error {
	if loss == 0 && !l.lossy[ns] {
		return nil
	}
	if err := ns.do(func() error { return lossRules(l.spec.Family, links, loss) }); err != nil {
		return err
	}
	l.lossy[ns] = true
	return nil
}

func (l *kernelLab) setLink(up bool) error {
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

func (l *kernelLab) move(i int) error {
	return l.with(0, func(*namespace) error {
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
