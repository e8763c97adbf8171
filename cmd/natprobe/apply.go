package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/vpn/wgapply"
)

// applyFlags are the flags of apply.
type applyFlags struct {
	peers    []string
	interval time.Duration
	follow   bool
	dryRun   bool
	revert   bool
	tuningFlags
}

func (a *app) applyCommand() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "apply INTERFACE",
		Short: "Set the keepalive of a WireGuard interface that exists",
		Long: `Measure the path of a WireGuard interface that exists already, of the kernel or of a
program, and set the keepalive that it needs. Only that changes: no key, no
endpoint, no allowed address. --revert brings back what was there before.

The peers concerned are those that --peer names; else those that send keepalives
now; else the only one with an endpoint. The measuring goes to the peer itself if a
natprobe runs there; else to the reflector named with --reflector.

With --follow it goes on: each network that this machine moves to gets its own
interval, see "natprobe up --help". The systemd unit natprobe-apply@wg0 does that.

The kernel's WireGuard may send a keepalive up to 13 % late, wireguard-go sends it
in time. The interval allows for that.`,
		Example: `  natprobe apply wg0
  natprobe apply wg0 --dry-run
  natprobe apply wg0 --follow --reflector reflector.example.org
  natprobe apply wg0 --interval 25s     without measuring
  natprobe apply wg0 --revert`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.apply(cmd.Context(), args[0], f, cmd.Flags())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.peers, "peer", nil, "set the interval of the peer with this public `KEY` (repeatable)")
	flags.DurationVar(&f.interval, "interval", 0, "set this `TIME`, whole seconds, instead of measuring; 0s: off")
	flags.BoolVar(&f.follow, "follow", false, "go on, and follow this machine from network to network")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be changed, and change nothing")
	flags.BoolVar(&f.revert, "revert", false, "bring back the intervals from before natprobe")
	f.add(flags)
	for _, other := range []string{"dry-run", "revert", "interval"} {
		exclude(flags, "follow", other)
	}
	exclude(flags, "revert", "interval")
	exclude(flags, "revert", "peer")
	return cmd
}

// check says which flags don't go together.
func (f applyFlags) check(flags *pflag.FlagSet) error {
	given := flags.Changed("interval")
	switch {
	case f.follow && (f.dryRun || f.revert || given):
		return usagef("--follow goes on measuring: --dry-run, --revert and --interval don't go with it")
	case f.revert && (given || len(f.peers) > 0):
		return usagef("--revert brings back everything: --interval and --peer don't go with it")
	case given && (f.interval < 0 || f.interval%time.Second != 0 || f.interval > 65535*time.Second):
		return usagef("--interval %v is not whole seconds from 0s to 65535s", f.interval)
	}
	return nil
}

func (a *app) apply(ctx context.Context, name string, f applyFlags, flags *pflag.FlagSet) (err error) {
	if err := f.check(flags); err != nil {
		return err
	}
	elsewhere, err := a.namedReflector(f.reflector)
	if err != nil {
		return err
	}
	state, err := stateDir(f.stateDir, a.env)
	if err != nil {
		return err
	}
	wg, err := wgapply.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, wg.Close()) }()
	originals, err := wgapply.OpenOriginals(state)
	if err != nil {
		a.say("%v.", err)
	}
	run := applyRun{
		app: a, flags: f, wg: wg, originals: originals, elsewhere: elsewhere, stateDir: state,
		log: newLog(a.stderr, f.verbose), begun: time.Now(),
	}
	if !f.dryRun {
		if err := lookedAfter(ctx, name, f); err != nil {
			return err
		}
	}
	if f.revert {
		return run.revert(ctx)
	}
	info, err := wg.Info()
	if err != nil {
		return err
	}
	peers, err := wg.Peers()
	if err != nil {
		return err
	}
	concerned, err := concernedPeers(name, run.before(ctx, peers), f.peers)
	if err != nil {
		return err
	}
	switch {
	case f.follow:
		return run.follow(ctx, info, concerned)
	case flags.Changed("interval"):
		return run.set(ctx, peers, concerned, uint16(f.interval/time.Second)) //nolint:gosec // checked
	default:
		return run.measureAndSet(ctx, info, peers, concerned)
	}
}

// lookedAfter is the error where another process chooses the interval: it would
// set it again, at the next change of network at the latest.
func lookedAfter(ctx context.Context, name string, f applyFlags) error {
	reply, err := ask(ctx, filepath.Join(f.runDir, name+tunnelSocket), controlStatus, controlPatience)
	if err == nil && reply.Status.Tuner != nil {
		return fmt.Errorf("%s: the natprobe that brought it up chooses its interval, in process %d; a number in its file would stay",
			name, reply.Status.PID)
	}
	if f.follow {
		return nil // its socket is taken, which is said later
	}
	reply, err = ask(ctx, filepath.Join(f.runDir, name+applySocket), controlStatus, controlPatience)
	if err == nil {
		return fmt.Errorf("%s: natprobe apply --follow looks after it, in process %d; end that first (systemctl stop natprobe-apply@%s, or Ctrl-C there)",
			name, reply.Status.PID, name)
	}
	return nil
}
