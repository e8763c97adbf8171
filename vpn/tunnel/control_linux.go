package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.zx2c4.com/wireguard/device"

	"github.com/natprobe/natprobe/vpn"
)

// Device is the WireGuard device. It must not be closed by others than Down.
func (t *Tunnel) Device() *device.Device { return t.device }

// Name is the interface's name.
func (t *Tunnel) Name() string { return t.config.Name }

// Mark is the fwmark of the tunnel's own packets: the file's, or the one that a
// default route needed; 0: none.
func (t *Tunnel) Mark() uint32 { return t.plan.Mark }

// Done is closed when the device ended: somebody deleted the interface or the
// socket, the device failed, or Down was called. Down is needed in all cases.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Peers tells what the peers do, in no order.
func (t *Tunnel) Peers() ([]vpn.PeerState, error) {
	text, err := t.device.IpcGet()
	if err != nil {
		return nil, fmt.Errorf("tunnel %s: the device doesn't tell its state: %w", t.config.Name, err)
	}
	return parsePeers(text)
}

// SetKeepalive sets a peer's interval in seconds; 0: no keepalives. It counts at
// once: a keepalive leaves now, and the next one that many seconds later.
func (t *Tunnel) SetKeepalive(ctx context.Context, peer vpn.PublicKey, seconds uint16) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.device.LookupPeer(device.NoisePublicKey(peer)) == nil {
		return fmt.Errorf("tunnel %s has no peer %s; `wg show %s` lists them", t.config.Name, peer, t.config.Name)
	}
	return t.set(setKeepalive(peer, seconds))
}

func (t *Tunnel) set(request string) error {
	if err := t.device.IpcSet(request); err != nil {
		return fmt.Errorf("tunnel %s: the device refuses a change: %s", t.config.Name, redact(err.Error()))
	}
	return nil
}

// Rehome adapts the tunnel to another network: the source addresses that the
// device had chosen are forgotten, and names of peers are resolved anew. Where a
// name can't be resolved its peer keeps the address, and the error says so. A
// peer that has roamed from what the file says keeps its address unless it has a
// name.
func (t *Tunnel) Rehome(ctx context.Context) error {
	peers, err := t.Peers()
	if err != nil {
		return err
	}
	// First all as they were: names may have to be resolved through the tunnel.
	current := make(map[vpn.PublicKey]netip.AddrPort)
	var request strings.Builder
	for _, p := range peers {
		if p.Endpoint.IsValid() {
			current[p.PublicKey] = p.Endpoint
			request.WriteString(setEndpoint(p.PublicKey, p.Endpoint))
		}
	}
	if err := t.set(request.String()); err != nil {
		return err
	}
	var errs []error
	for i := range t.config.Peers {
		p := &t.config.Peers[i]
		if _, isAddress := p.Endpoint.AddrPort(); isAddress || p.Endpoint.IsZero() {
			continue
		}
		errs = append(errs, t.rehomePeer(ctx, p, current[p.PublicKey]))
	}
	return errors.Join(errs...)
}

func (t *Tunnel) rehomePeer(ctx context.Context, p *vpn.Peer, current netip.AddrPort) error {
	r := t.resolver()
	addrs, err := r.addresses(ctx, p.Endpoint.Host)
	if err != nil {
		return endpointError(t.config, p, err)
	}
	to := netip.AddrPortFrom(r.keep(addrs, current.Addr()), p.Endpoint.Port)
	if to == current {
		return nil
	}
	t.logger.Info("the name of a peer has another address now", "peer", p.PublicKey.String(), "host", p.Endpoint.Host)
	return t.set(setEndpoint(p.PublicKey, to))
}
