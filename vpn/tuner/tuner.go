package tuner

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/natprobe/natprobe/results"
)

// Tuner sets the intervals of one interface. Make it with New.
type Tuner struct {
	cfg   Config
	log   *slog.Logger
	paths []*path

	mu      sync.Mutex // guards changes and each path's shown
	changes []Change
}

// New returns a tuner that does nothing yet.
func New(cfg Config) *Tuner {
	cfg.Pace = cfg.Pace.withDefaults()
	t := &Tuner{cfg: cfg, log: cfg.Logger}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	for _, family := range []results.Family{results.IPv4, results.IPv6} {
		t.paths = append(t.paths, newPath(t, family))
	}
	return t
}

// Run tunes until ctx is done. IPv4 and IPv6 lead through different boxes and
// are looked after apart.
func (t *Tuner) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, p := range t.paths {
		running.Go(func() { p.run(ctx) })
	}
	changes := t.cfg.Changes
	for {
		select {
		case <-ctx.Done():
			running.Wait()
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			if t.cfg.Moved != nil {
				t.cfg.Moved()
			}
			for _, p := range t.paths {
				select {
				case p.moved <- struct{}{}:
				default:
				}
			}
		}
	}
}

// Status returns a snapshot. Paths without a peer are left out, unless all are.
func (t *Tuner) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Interface: t.cfg.Interface, Changes: slices.Clone(t.changes)}
	for _, p := range t.paths {
		if p.shown.Phase != PhaseWaiting {
			s.Paths = append(s.Paths, p.shown)
		}
	}
	if len(s.Paths) == 0 {
		s.Paths = append(s.Paths, t.paths[0].shown)
	}
	return s
}

// changed keeps a change and tells the log.
func (t *Tuner) changed(c Change) {
	t.log.Info("keepalive set", "interface", t.cfg.Interface, "seconds", c.IntervalS, "reason", c.Reason,
		"network", c.Network, "family", c.Family)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes = append(t.changes, c)
	if n := len(t.changes) - keptChanges; n > 0 {
		t.changes = slices.Delete(t.changes, 0, n)
	}
}
