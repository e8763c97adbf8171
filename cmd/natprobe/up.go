package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/network"
	"github.com/natprobe/natprobe/vpn/sharedport"
	"github.com/natprobe/natprobe/vpn/tunnel"
)

// upFlags are the flags of up.
type upFlags struct {
	daemon    bool
	noReflect bool
	override  bool
	tuningFlags
}

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up FILE",
		Short: "Bring up a WireGuard tunnel that chooses its own keepalive",
		Long: `Bring up a WireGuard tunnel from a file of wg-quick, and keep it until Ctrl-C or
"natprobe down". It is called after the file: wg0.conf makes wg0. wg(8) shows and
changes it as any other.

A peer with "PersistentKeepalive = auto", or with the comment "# natprobe: auto" in
its section, gets the interval that this network needs: a safe one at once, the
measured one within a minute or a few, and on coming back to a known network its
own at once. A number without that comment is left alone, unless --override.

The measuring goes to the peer itself where a natprobe runs there, on the very
port of the tunnel; else to the reflector named with --reflector. This tunnel
helps its own peers in the same way, and nobody else, unless --no-reflect.`,
		Example: `  natprobe up /etc/wireguard/wg0.conf              until Ctrl-C
  natprobe up --daemon wg0.conf                    in the background
  natprobe up --reflector reflector.example.org wg0.conf
                                                   the server is no natprobe`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.up(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.daemon, "daemon", false, "go to the background once the tunnel is up")
	flags.BoolVar(&f.noReflect, "no-reflect", false, "don't help the peers of this tunnel to measure")
	flags.BoolVar(&f.override, "override", false, "choose the interval also for peers whose number is in the file")
	f.add(flags)
	return cmd
}

func (a *app) up(ctx context.Context, name string, f upFlags) error {
	config, err := vpn.ParseFile(name)
	if err != nil {
		return inputError{err}
	}
	elsewhere, err := a.namedReflector(f.reflector)
	if err != nil {
		return err
	}
	state, err := stateDir(f.stateDir, a.env)
	if err != nil {
		return err
	}
	if f.daemon && !inBackground() {
		return a.upInBackground(ctx, f, config.Name)
	}
	ready := daemonReady()
	log := newLog(a.stderr, f.verbose)
	for _, warning := range config.Warnings {
		log.Warn("in the file", "warning", warning.String())
	}
	u := &upRun{config: config, flags: f, stateDir: state, elsewhere: elsewhere, log: log, begun: time.Now(), ready: ready}
	err = u.run(ctx)
	ready(err)
	return err
}

// upRun is one tunnel that is kept.
type upRun struct {
	config    *vpn.Config
	flags     upFlags
	stateDir  string
	elsewhere *target
	log       *slog.Logger
	begun     time.Time
	ready     func(error) // tells who waits that the tunnel is up, or why not

	tunnel *tunnel.Tunnel
	tuning *tuning // nil: no interval is to be chosen
}

// run keeps the tunnel until ctx is done, it is told to end, or it ends by
// itself.
func (u *upRun) run(ctx context.Context) (err error) {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	options := tunnel.Options{Config: u.config, Logger: u.log, RunDir: u.flags.runDir}
	var shared *sharedport.Bind
	if u.reflects() {
		shared = sharedport.New(nil)
		options.Bind = shared
	}
	if u.tunnel, err = tunnel.Up(ctx, options); err != nil {
		return err
	}
	var running sync.WaitGroup
	var socket *control
	ended := make(chan struct{})
	var undone error // what could not be undone; for those who wait for ended
	defer func() {
		close(ended)
		if socket != nil {
			socket.drain()
		}
	}()
	defer func() {
		stop()
		running.Wait()
		// The commands of the file get their time although ctx is done.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), downPatience)
		defer cancel()
		undone = u.tunnel.Down(ending)
		err = errors.Join(err, undone)
	}()
	if shared != nil {
		running.Go(func() { u.reflect(serving, shared) })
	}
	if peers := u.peersToTune(); len(peers) > 0 {
		u.tuning = newTuning(serving, u.tuningConfig(serving, peers))
		running.Go(func() { u.tuning.run(serving) })
	} else {
		running.Go(func() { u.followNetwork(serving) })
	}
	socket, err = openControl(filepath.Join(u.flags.runDir, u.config.Name+tunnelSocket), u.status, func() error {
		stop()
		<-ended
		return undone
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socket.Close()) }()
	u.log.Info("looking after the tunnel", "interface", u.config.Name, "reflects", u.reflects(), "tunes", u.tuning != nil)
	u.ready(nil)
	select {
	case <-serving.Done():
		return nil
	case <-u.tunnel.Done():
		return fmt.Errorf("the tunnel %s ended by itself: its interface or socket was removed by somebody else", u.config.Name)
	}
}

// reflects tells whether peers can measure against this tunnel. Without a key of
// its own it couldn't tell them from strangers.
func (u *upRun) reflects() bool {
	return !u.flags.noReflect && !u.config.Interface.PrivateKey.IsZero()
}

// sharedLimits bound the memory of a tunnel's reflector to some megabytes: it
// has its peers to serve, and not the public.
func sharedLimits() reflector.Limits {
	return reflector.Limits{Orders: 1 << 16, Sessions: 1 << 8}
}

// reflect answers the peers' measurements on the tunnel's own port.
func (u *upRun) reflect(ctx context.Context, shared *sharedport.Bind) {
	r, err := reflector.New(reflector.Config{Limits: sharedLimits(), Logger: u.log})
	if err == nil {
		seal := wire.NewSeal(u.config.Interface.PrivateKey.PublicKey())
		err = r.Serve(ctx, unsealing{shared.PacketConn(), seal})
	}
	if err != nil && ctx.Err() == nil {
		u.log.Error("peers can't measure against this tunnel any more", "error", err)
	}
}

// peersToTune returns the peers whose interval is to be chosen, with the number
// to start from.
func (u *upRun) peersToTune() map[vpn.PublicKey]uint16 {
	peers := make(map[vpn.PublicKey]uint16)
	for _, p := range u.config.Peers {
		if p.Keepalive.Auto || u.flags.override && p.Keepalive.Given {
			peers[p.PublicKey] = p.Keepalive.Seconds
		}
	}
	return peers
}

func (u *upRun) tuningConfig(ctx context.Context, peers map[vpn.PublicKey]uint16) tuningConfig {
	return tuningConfig{
		name: u.config.Name, applier: u.tunnel, peers: peers, mark: u.tunnel.Mark, late: analysis.LatenessExact,
		elsewhere: u.elsewhere, stateDir: u.stateDir, log: u.log,
		moved: func() { u.moved(ctx) },
	}
}

// followNetwork does what the tuner does otherwise: it lets the tunnel know of
// changes of the network.
func (u *upRun) followNetwork(ctx context.Context) {
	changes, err := network.Watch(ctx, u.config.Name)
	if err != nil {
		u.log.Warn("changes of the network are noticed late", "error", err)
		return
	}
	for range changes {
		u.moved(ctx)
	}
}

func (u *upRun) moved(ctx context.Context) {
	if err := u.tunnel.Rehome(ctx); err != nil && ctx.Err() == nil {
		u.log.Warn("after a change of network", "error", err)
	}
}

func (u *upRun) status() runningStatus {
	s := statusOf(u.config.Name, "tunnel", u.begun, u.tunnel, u.tuning)
	s.Reflects = u.reflects()
	return s
}
