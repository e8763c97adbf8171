package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"

	"github.com/natprobe/natprobe/vpn"
)

// system is what tests replace so that they change nothing of the machine.
type system struct {
	// resolvConf is the file with name servers.
	resolvConf string
	// dns is how name servers are set; empty: looked for.
	dns string
	// lookup resolves names.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

func realSystem() system {
	return system{resolvConf: systemResolvConf, lookup: net.DefaultResolver.LookupNetIP}
}

// Tunnel is a WireGuard interface that is up.
type Tunnel struct {
	config  *vpn.Config
	options Options
	system  system
	logger  *slog.Logger
	hooks   hooks
	journal *journal
	plan    plan

	device *device.Device
	server *server
	done   chan struct{}
	watch  sync.WaitGroup

	downOnce sync.Once
	downErr  error
}

// Up makes a tunnel. On an error everything it did is undone; ctx ends it early.
// What a dead process left of a tunnel of that name is cleaned up first.
// The error wraps ErrRunning where a living process has that tunnel.
func Up(ctx context.Context, o Options) (*Tunnel, error) { return up(ctx, o, realSystem()) }

func up(ctx context.Context, o Options, s system) (*Tunnel, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	name := o.Config.Name
	t := &Tunnel{
		config: o.Config, options: o, system: s,
		logger: o.Logger.With("interface", name),
		hooks:  hooks{name: name, output: o.Output, logger: o.Logger},
		done:   make(chan struct{}),
	}
	if err := t.prepare(ctx); err != nil {
		return nil, fmt.Errorf("tunnel %s: %w", name, err)
	}
	if err := t.make(ctx); err != nil {
		err = fmt.Errorf("tunnel %s: %w", name, err)
		if undo := t.undo(context.WithoutCancel(ctx)); undo != nil {
			err = errors.Join(err, fmt.Errorf("tunnel %s: and undoing it left something: %w", name, undo))
		}
		return nil, err
	}
	t.watch.Go(t.watchEnd)
	t.logger.Info("tunnel is up", "addresses", len(t.plan.Addresses), "peers", len(t.config.Peers), "mark", t.plan.Mark)
	return t, nil
}

// prepare cleans up after the dead and begins the journal.
func (t *Tunnel) prepare(ctx context.Context) error {
	name := t.config.Name
	if err := checkRights(name); err != nil {
		return err
	}
	if err := makeRunDir(t.options.RunDir); err != nil {
		return err
	}
	cleaned, err := cleanUp(ctx, t.options.RunDir, t.hooks, t.logger)
	if cleaned {
		t.logger.Warn("cleaned up what an earlier natprobe left, which ended without doing so")
	}
	if err != nil {
		return err
	}
	if found, err := exists(name); err != nil || found {
		if found {
			err = taken(name)
		}
		return err
	}
	return t.begin()
}

// begin plans and starts the journal, while no other process does.
func (t *Tunnel) begin() error {
	unlock, err := lockDir(t.options.RunDir)
	if err != nil {
		return err
	}
	defer unlock()
	around, err := lookAround()
	if err != nil {
		return err
	}
	for _, other := range readJournals(t.options.RunDir, t.config.Name) {
		around.Taken[other.Mark] = true
	}
	if t.plan, err = makePlan(t.config, around); err != nil {
		return err
	}
	self, err := thisProcess()
	if err != nil {
		return err
	}
	t.journal, err = createJournal(t.options.RunDir, record{
		Version: journalVersion, Interface: t.config.Name, Process: self, Mark: t.plan.Mark,
	})
	return err
}

// make does all that is to be undone later.
func (t *Tunnel) make(ctx context.Context) error {
	in := &t.config.Interface
	if len(in.PreUp) > 0 {
		t.journal.PostDown = in.PostDown
		if err := t.journal.save(); err != nil {
			return err
		}
		if err := t.runAll(ctx, "PreUp", in.PreUp); err != nil {
			return err
		}
	}
	resolved, err := t.resolver().all(ctx, t.config)
	if err != nil {
		return err
	}
	for i := range t.config.Peers {
		if peer := &t.config.Peers[i]; t.plan.insideItself(resolved[peer.PublicKey].Addr()) {
			t.logger.Warn("the address of a peer is inside AllowedIPs, so packets for it go into the tunnel itself; "+
				"narrow AllowedIPs, or use 0.0.0.0/0 and ::/0, which are treated specially", "line", peer.Line)
		}
	}
	if err := t.makeDevice(resolved); err != nil {
		return err
	}
	link, err := netlink.LinkByName(t.config.Name)
	if err != nil {
		return fmt.Errorf("the interface is gone again: %w", err)
	}
	for _, a := range t.plan.Addresses {
		if err := addAddress(link, a); err != nil {
			return err
		}
	}
	if err := t.linkUp(link, resolved); err != nil {
		return err
	}
	if err := t.setDNS(ctx); err != nil {
		return err
	}
	if err := t.makeRoutes(link); err != nil {
		return err
	}
	t.journal.PreDown, t.journal.PostDown = in.PreDown, in.PostDown
	if err := t.journal.save(); err != nil {
		return err
	}
	return t.runAll(ctx, "PostUp", in.PostUp)
}

func (t *Tunnel) runAll(ctx context.Context, key string, commands []string) error {
	for i, c := range commands {
		if err := t.hooks.run(ctx, key, i+1, c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// makeDevice makes the interface, gives it keys and peers, and opens the socket.
func (t *Tunnel) makeDevice(resolved map[vpn.PublicKey]netip.AddrPort) error {
	name := t.config.Name
	interfaceTUN, err := createTUN(name)
	if err != nil {
		return err
	}
	t.device = device.NewDevice(interfaceTUN, t.options.Bind, deviceLogger(t.logger))
	c := *t.config
	c.Interface.FwMark = t.plan.Mark
	err = t.device.IpcSet(string(c.AppendUAPI(nil, resolved)))
	if errors.Is(err, unix.EADDRINUSE) {
		return portInUse(c.Interface.ListenPort) // it may be on already
	}
	if err != nil {
		return fmt.Errorf("the device doesn't take the configuration: %s", redact(err.Error()))
	}
	if err := t.journal.add(step{Kind: stepSocket, Path: socketPath(name)}); err != nil {
		return err
	}
	t.server, err = serve(name, t.device)
	return err
}

// linkUp sets the MTU and switches the interface on.
func (t *Tunnel) linkUp(link netlink.Link, resolved map[vpn.PublicKey]netip.AddrPort) error {
	var paths []int
	if t.config.Interface.MTU == 0 {
		for _, ap := range resolved {
			paths = append(paths, pathMTU(ap.Addr(), t.plan.Mark))
		}
	}
	mtu := chooseMTU(t.config.Interface.MTU, paths)
	if err := netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("MTU: %d can't be set: %w", mtu, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("the interface can't be switched on: %w", err)
	}
	return t.openSockets()
}

// openSockets makes sure that the device has its UDP port. It follows the link
// by itself, but tells nobody when it can't; and where a port is in use it takes
// any other one when it is asked again.
func (t *Tunnel) openSockets() error {
	want := t.config.Interface.ListenPort
	if err := t.device.Up(); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return portInUse(want)
		}
		return fmt.Errorf("the UDP sockets can't be opened: %w", err)
	}
	text, err := t.device.IpcGet()
	if err != nil {
		return fmt.Errorf("the device doesn't tell its state: %w", err)
	}
	if got, err := parsePort(text); err != nil || want != 0 && got != want {
		return portInUse(want)
	}
	return nil
}

func portInUse(port uint16) error {
	return fmt.Errorf("ListenPort: UDP port %d is in use; stop what listens there, or change the port", port)
}

// makeRoutes makes what leads packets into the tunnel. Default routes come with
// rules, and what they need comes before them, so that no packet goes astray.
func (t *Tunnel) makeRoutes(link netlink.Link) error {
	for _, r := range t.plan.Routes {
		if err := addRoute(link, r); err != nil {
			return err
		}
	}
	if len(t.plan.Guarded) == 0 {
		return nil
	}
	name := t.config.Name
	if err := t.journal.add(step{Kind: stepFirewall, Table: firewallName(name)}); err != nil {
		return err
	}
	if err := makeFirewall(name, t.plan); err != nil {
		return err
	}
	if !t.plan.Guarded[0].IPv6 || len(t.plan.Guarded) > 1 {
		if err := t.setValidMark(); err != nil {
			return err
		}
	}
	for _, r := range t.plan.Rules {
		if err := t.journal.add(step{Kind: stepRule, Rule: &r}); err != nil {
			return err
		}
		if err := addRule(r); err != nil {
			return err
		}
	}
	return nil
}

// setValidMark makes reverse path filters look at marks. Where another tunnel of
// ours did so before, the value to go back to is the one that it found.
func (t *Tunnel) setValidMark() error {
	old, err := readSetting(validMark)
	if err != nil {
		return err
	}
	s := step{Kind: stepSysctl, Path: validMark, Old: old, Wrote: "1"}
	if old == s.Wrote {
		adopted, ok := foundByOthers(readJournals(t.options.RunDir, t.config.Name))
		if !ok {
			return nil
		}
		s.Old = adopted
		return t.journal.add(s)
	}
	if err := t.journal.add(s); err != nil {
		return err
	}
	return writeSetting(s.Path, s.Wrote)
}

func foundByOthers(others []*journal) (string, bool) {
	for _, j := range others {
		for _, s := range j.Steps {
			if s.Kind == stepSysctl && s.Path == validMark {
				return s.Old, true
			}
		}
	}
	return "", false
}

func (t *Tunnel) resolver() resolver {
	return resolver{
		lookup: t.system.lookup,
		usable: func(a netip.Addr) bool { return reachable(a, t.plan.Mark) },
		logger: t.logger,
	}
}

// watchEnd waits for the device's end.
func (t *Tunnel) watchEnd() {
	defer close(t.done)
	select {
	case <-t.device.Wait():
	case <-t.server.gone:
	}
}
