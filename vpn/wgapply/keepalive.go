package wgapply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/vpn"
)

// SetKeepalive sets the persistent keepalive of a peer, in seconds; 0 ends it.
// It counts at once: a keepalive, or a handshake where there is no session, leaves
// now and the next one after the interval. Where the interval is in force already
// nothing is touched. Nothing else of the peer or the interface changes, and a
// peer that was removed meanwhile isn't made anew.
//
// The interval is read back: the error says where another one is in force, because
// somebody else sets it too. Further errors are those of [Open], ErrNoPeer and
// ErrRefused. Where ctx ends or the interface doesn't answer before the change is
// confirmed, it may still be made.
func (i *Interface) SetKeepalive(ctx context.Context, peer vpn.PublicKey, seconds uint16) error {
	before, err := i.device(ctx)
	if err != nil {
		return err
	}
	now, ok := before.keepalive(peer)
	if !ok {
		return noPeer(i.name, peer)
	}
	if now == seconds {
		return nil
	}
	if before.fragile[peer] {
		return fmt.Errorf("%w: the program that runs %s doesn't answer as wireguard-go does; one of that kind, BoringTun, ends when a peer "+
			"is changed: set PersistentKeepalive = %d in its configuration and start it again", ErrRefused, i.name, seconds)
	}
	if err := i.configure(ctx, peer, seconds); err != nil {
		return err
	}
	after, err := i.device(ctx)
	if err != nil {
		return fmt.Errorf("the interval of %s was set but can't be verified: %w", peer, err)
	}
	switch now, ok := after.keepalive(peer); {
	case !ok:
		return noPeer(i.name, peer)
	case now != seconds:
		return fmt.Errorf("%s: the persistent keepalive of %s is %d s after it was set to %d s; what else sets it?", i.name, peer, now, seconds)
	}
	return nil
}

// configure makes one request of two entries for the peer, which are worked off
// in order: 0 stops the timer, the value from 0 starts it anew.
func (i *Interface) configure(ctx context.Context, peer vpn.PublicKey, seconds uint16) error {
	entry := func(seconds uint16) wgtypes.PeerConfig {
		interval := time.Duration(seconds) * time.Second
		return wgtypes.PeerConfig{
			PublicKey:                   wgtypes.Key(peer),
			UpdateOnly:                  true,
			PersistentKeepaliveInterval: &interval,
		}
	}
	config := wgtypes.Config{Peers: []wgtypes.PeerConfig{entry(0)}}
	if seconds > 0 {
		config.Peers = append(config.Peers, entry(seconds))
	}
	_, err := ask(ctx, i.line, i.name, func(c control) (struct{}, error) {
		return struct{}{}, c.ConfigureDevice(i.name, config)
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wgtypes.ErrUpdateOnlyNotSupported):
		return fmt.Errorf("%w: this system's WireGuard can't change a peer without the risk of making one that was just removed; "+
			"use wg set %s peer %s persistent-keepalive %d", ErrRefused, i.name, peer, seconds)
	}
	return explain(i.name, err)
}

// keepalive returns the interval that is in force for a peer, in seconds.
func (d device) keepalive(peer vpn.PublicKey) (uint16, bool) {
	for _, p := range d.peers {
		if p.PublicKey == peer {
			return seconds(p.Keepalive), true
		}
	}
	return 0, false
}

// seconds returns an interval as WireGuard has it.
func seconds(d time.Duration) uint16 {
	return uint16(min(max(0, d/time.Second), 1<<16-1))
}
