package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/wgapply"
)

// concernedPeers returns the peers whose interval is to be set, with the number
// to start from.
func concernedPeers(name string, peers []vpn.PeerState, named []string) (map[vpn.PublicKey]uint16, error) {
	concerned := make(map[vpn.PublicKey]uint16)
	seconds := func(p vpn.PeerState) uint16 { return uint16(p.Keepalive / time.Second) } //nolint:gosec // 16 bits in WireGuard, too
	if len(named) > 0 {
		for _, text := range named {
			key, err := vpn.ParsePublicKey(text)
			if err != nil {
				return nil, usagef("--peer: %v", err)
			}
			found := false
			for _, p := range peers {
				if p.PublicKey == key {
					concerned[key], found = seconds(p), true
				}
			}
			if !found {
				return nil, usagef("--peer: %s has no peer %s; \"wg show %s peers\" lists them", name, key, name)
			}
		}
		return concerned, nil
	}
	var reachable []vpn.PublicKey
	for _, p := range peers {
		if p.Keepalive > 0 {
			concerned[p.PublicKey] = seconds(p)
		}
		if p.Endpoint.IsValid() {
			reachable = append(reachable, p.PublicKey)
		}
	}
	if len(concerned) > 0 {
		return concerned, nil
	}
	if len(reachable) == 1 {
		concerned[reachable[0]] = 0
		return concerned, nil
	}
	if len(reachable) == 0 {
		// No usage error: a service is to try again.
		return nil, fmt.Errorf("%s has no peer yet that has an endpoint or sends keepalives: there is nothing to set", name)
	}
	return nil, usagef("%s has %s with an endpoint, and none sends keepalives now: name those that are to, with --peer KEY",
		name, plural(len(reachable), "peer"))
}

// before returns the peers with the intervals that they had before natprobe: one
// that was measured in another network is no safe start here, and a peer that
// needed none there is still concerned.
func (r *applyRun) before(ctx context.Context, peers []vpn.PeerState) []vpn.PeerState {
	plan, err := r.originals.PlanRevert(ctx, r.wg)
	if err != nil {
		r.log.Debug("what was before natprobe is not known for sure", "error", err)
	}
	peers = slices.Clone(peers)
	for _, reversal := range plan {
		for i := range peers {
			if peers[i].PublicKey == reversal.Peer && reversal.Outcome == wgapply.Restored {
				peers[i].Keepalive = time.Duration(reversal.New) * time.Second
			}
		}
	}
	return peers
}
