package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/tuner"
	"github.com/natprobe/natprobe/vpn/wgapply"
)

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
