package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/tuner"
	"github.com/natprobe/natprobe/vpn/wgapply"
)

// applyFlags are the flags of apply.
type applyFlags struct {
	peers     []string
	interval  time.Duration
	follow    bool
	dryRun    bool
	revert    bool
	reflector string
	stateDir  string
	runDir    string
	verbose   bool
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
	flags.StringVar(&f.reflector, "reflector", "", "`HOST[:PORT]` to measure against where the peer is no natprobe (default $"+reflectorVariable+")")
	addTuningFlags(flags, &f.stateDir, &f.runDir, &f.verbose)
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

// applyRun is one run of apply.
type applyRun struct {
	app       *app
	flags     applyFlags
	wg        *wgapply.Interface
	originals *wgapply.Originals
	elsewhere *target
	stateDir  string
	log       *slog.Logger
	begun     time.Time
	tuning    *tuning
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

// set sets one interval for all the peers concerned.
func (r *applyRun) set(ctx context.Context, peers []vpn.PeerState, concerned map[vpn.PublicKey]uint16, seconds uint16) error {
	want := make(map[vpn.PublicKey]uint16)
	for key := range concerned {
		want[key] = seconds
	}
	changes, err := wgapply.Plan(r.wg.Name(), peers, want)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if r.flags.dryRun || !change.Needed() {
			r.app.tell("%s\n", change)
			continue
		}
		done, err := r.originals.SetKeepalive(ctx, r.wg, change.Peer, change.New)
		var warning *wgapply.StoreError
		if err != nil && !errors.As(err, &warning) {
			return err
		}
		r.app.tell("%s\n", done)
		if warning != nil {
			r.app.say("%v.", warning)
		}
	}
	if r.flags.dryRun {
		r.app.say("Nothing was changed.")
	}
	return r.app.stdout.err
}

// tell writes to standard output. Its first failure is kept there.
func (a *app) tell(format string, args ...any) { _, _ = fmt.Fprintf(a.stdout, format, args...) }

// measureAndSet measures the path to the first of the peers concerned that has
// an endpoint.
func (r *applyRun) measureAndSet(ctx context.Context, info wgapply.Info, peers []vpn.PeerState, concerned map[vpn.PublicKey]uint16) error {
	var to tuner.Target
	for _, p := range peers {
		if _, ok := concerned[p.PublicKey]; ok && p.Endpoint.IsValid() {
			to = tuner.Target{Peer: p.PublicKey, Endpoint: p.Endpoint}
			break
		}
	}
	if !to.Endpoint.IsValid() {
		return fmt.Errorf("%s: none of the peers concerned has an endpoint yet, so there is no path to measure", r.wg.Name())
	}
	screen := newView(r.app.stderr, false)
	screen.Note(fmt.Sprintf("Measuring the path of %s to %v, apart from the tunnel.", r.wg.Name(), to.Endpoint))
	m := r.measurer(info)
	m.observe = screen.Progress
	record, err := m.Measure(ctx, to)
	screen.Close()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: nothing was changed", errInterrupted)
	case record == nil && errors.Is(err, tuner.ErrNoReflector):
		return err
	case err != nil:
		return err
	}
	writeSummary(r.app.stdout, summary{Record: *record}, r.app.style())
	if record.Recommendation.KeepaliveS == nil {
		r.app.say("Nothing was changed.")
		return inconclusive(*record.Recommendation, false)
	}
	return r.set(ctx, peers, concerned, uint16(*record.Recommendation.KeepaliveS)) //nolint:gosec // at most results.MaxGapS
}

func (r *applyRun) measurer(info wgapply.Info) *pathMeasurer {
	return &pathMeasurer{
		mark: func() uint32 { return info.FwMark }, elsewhere: r.elsewhere, late: info.Kind.Lateness(),
		ports: portsIn(r.stateDir, r.log), log: r.log,
	}
}

// revert brings back what was there before.
func (r *applyRun) revert(ctx context.Context) error {
	act := r.originals.Revert
	if r.flags.dryRun {
		act = r.originals.PlanRevert
	}
	done, err := act(ctx, r.wg)
	for _, reversal := range done {
		r.app.tell("%s\n", reversal)
	}
	var warning *wgapply.StoreError
	if errors.As(err, &warning) {
		r.app.say("%v.", warning)
		err = nil
	}
	if err == nil && len(done) == 0 {
		r.app.say("natprobe has changed nothing of %s.", r.wg.Name())
	}
	return errors.Join(err, r.app.stdout.err)
}

// follow tunes the interface until ctx is done. The intervals stay then.
func (r *applyRun) follow(ctx context.Context, info wgapply.Info, concerned map[vpn.PublicKey]uint16) (err error) {
	name := r.wg.Name()
	mark := knownMark{info: r.wg.Info, mark: info.FwMark}
	r.tuning = newTuning(ctx, tuningConfig{
		name: name, applier: originalsKept{r.wg, r.originals, r.log}, peers: concerned, mark: mark.get,
		late: info.Kind.Lateness(), elsewhere: r.elsewhere, stateDir: r.stateDir, log: r.log,
	})
	socket, err := openControl(filepath.Join(r.flags.runDir, name+applySocket), r.status, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, socket.Close()) }()
	r.log.Info("following the network", "interface", name, "kind", info.Kind, "peers", len(concerned))
	r.tuning.run(ctx)
	r.log.Info("ended; the intervals stay as they are", "interface", name)
	return nil
}

func (r *applyRun) status() runningStatus {
	return statusOf(r.wg.Name(), "apply", r.begun, r.wg, r.tuning)
}

// originalsKept sets intervals so that --revert can bring back what was before.
type originalsKept struct {
	*wgapply.Interface
	originals *wgapply.Originals
	log       *slog.Logger
}

// SetKeepalive sets an interval and makes it count at once, also where it is in
// force already.
func (o originalsKept) SetKeepalive(ctx context.Context, peer vpn.PublicKey, seconds uint16) error {
	change, err := o.originals.SetKeepalive(ctx, o.Interface, peer, seconds)
	var warning *wgapply.StoreError
	if errors.As(err, &warning) {
		o.log.Warn("the interval is set, but --revert may not know the original", "error", warning)
		err = nil
	}
	if err != nil || change.Needed() || seconds == 0 {
		return err
	}
	return errors.Join(o.Interface.SetKeepalive(ctx, peer, 0), o.Interface.SetKeepalive(ctx, peer, seconds))
}
