package wgapply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/natprobe/natprobe/vpn"
)

// patience is how long the program behind an interface may take to answer.
// The kernel and wireguard-go need milliseconds; one that was stopped never
// answers, and its socket goes on accepting.
const patience = 5 * time.Second

// control is what is used of wgctrl.
type control interface {
	Devices() ([]*wgtypes.Device, error)
	Device(name string) (*wgtypes.Device, error)
	ConfigureDevice(name string, config wgtypes.Config) error
	Close() error
}

// Interface is a WireGuard interface that somebody else made. It is found by its
// name each time, so that one which went and came back is the same. Methods may
// be called from several goroutines.
type Interface struct {
	name string
	line *line
}

// Open returns the WireGuard interface of a name. The error says what is in the
// way: no interface of that name (it wraps [ErrNoInterface] and lists those that
// exist), no permission (fs.ErrPermission), no answer from the program that runs
// it ([ErrNoAnswer]).
func Open(name string) (*Interface, error) {
	c, err := connect()
	if err != nil {
		return nil, err
	}
	return open(c, name)
}

func open(c control, name string) (*Interface, error) {
	i := &Interface{name: name, line: newLine(c)}
	if _, err := i.device(context.Background()); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// Close lets go of the interface, which stays as it is.
func (i *Interface) Close() error {
	return i.line.close()
}

// Name returns the name that Open was given.
func (i *Interface) Name() string { return i.name }

// Info is what an interface says of itself.
type Info struct {
	Name string
	Kind Kind
	// PublicKey is zero where the interface has no private key, or doesn't tell.
	PublicKey vpn.PublicKey
	// ListenPort is 0 where no port is open yet.
	ListenPort uint16
	// FwMark is on each packet of the tunnel; 0: none.
	FwMark uint32
}

// Info asks the interface. The errors are those of [Open].
func (i *Interface) Info() (Info, error) {
	d, err := i.device(context.Background())
	if err != nil {
		return Info{}, err
	}
	return d.info, nil
}

// Peers asks the interface for its peers, in its own order. The errors are those
// of [Open].
func (i *Interface) Peers() ([]vpn.PeerState, error) {
	d, err := i.device(context.Background())
	if err != nil {
		return nil, err
	}
	return d.peers, nil
}

// device is what is kept of an interface's answer: no secrets.
type device struct {
	info  Info
	peers []vpn.PeerState
	// fragile peers must not be changed.
	fragile map[vpn.PublicKey]bool
}

// device asks for the interface's state.
func (i *Interface) device(ctx context.Context) (device, error) {
	d, err := ask(ctx, i.line, i.name, func(c control) (device, error) {
		d, err := c.Device(i.name)
		if err != nil {
			return device{}, err
		}
		return digest(d), nil
	})
	if err == nil {
		return d, nil
	}
	// A name that the kernel can't have is out of range or invalid.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ERANGE) || errors.Is(err, syscall.EINVAL) {
		others, listErr := ask(ctx, i.line, i.name, names)
		if listErr != nil {
			return device{}, fmt.Errorf("%w: %s; which there are can't be told (%w)", ErrNoInterface, i.name, explain("WireGuard", listErr))
		}
		return device{}, missing(i.name, others)
	}
	return device{}, explain(i.name, err)
}

// digest takes over what may be kept and overwrites the secrets.
func digest(d *wgtypes.Device) device {
	hasKey := d.PrivateKey != wgtypes.Key{}
	d.PrivateKey = wgtypes.Key{}
	kind := kindOf(d.Type)
	out := device{
		info: Info{
			Name:       d.Name,
			Kind:       kind,
			ListenPort: uint16(d.ListenPort),   //nolint:gosec // a port
			FwMark:     uint32(d.FirewallMark), //nolint:gosec // 32 bits wide in WireGuard
		},
		peers:   make([]vpn.PeerState, 0, len(d.Peers)),
		fragile: make(map[vpn.PublicKey]bool),
	}
	// Of a program that has no private key, or doesn't tell it, wgctrl makes up
	// the public one of 32 zeros.
	if hasKey || kind != Userspace {
		out.info.PublicKey = vpn.PublicKey(d.PublicKey)
	}
	for at := range d.Peers {
		p := &d.Peers[at]
		p.PresharedKey = wgtypes.Key{}
		out.peers = append(out.peers, peerState(p))
		// wireguard-go says the protocol's version with each peer; BoringTun
		// doesn't.
		if kind == Userspace && p.ProtocolVersion == 0 {
			out.fragile[vpn.PublicKey(p.PublicKey)] = true
		}
	}
	return out
}

func peerState(p *wgtypes.Peer) vpn.PeerState {
	s := vpn.PeerState{
		PublicKey:     vpn.PublicKey(p.PublicKey),
		Keepalive:     p.PersistentKeepaliveInterval,
		LastHandshake: p.LastHandshakeTime,
		ReceivedBytes: uint64(max(0, p.ReceiveBytes)),
		SentBytes:     uint64(max(0, p.TransmitBytes)),
	}
	// The kernel says "never" as the beginning of 1970.
	if !s.LastHandshake.IsZero() && s.LastHandshake.Unix() <= 0 {
		s.LastHandshake = time.Time{}
	}
	if p.Endpoint != nil && p.Endpoint.Port > 0 && p.Endpoint.Port <= math.MaxUint16 {
		e := p.Endpoint.AddrPort()
		s.Endpoint = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
	}
	return s
}
