package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/memory"
	"github.com/natprobe/natprobe/vpn/network"
	"github.com/natprobe/natprobe/vpn/tuner"
	"github.com/natprobe/natprobe/vpn/wgapply"
)

// tuningConfig is what up and apply know of an interface whose intervals are to
// be chosen.
type tuningConfig struct {
	name      string
	applier   tuner.Applier
	peers     map[vpn.PublicKey]uint16 // with the seconds to start from, 0: none
	mark      func() uint32
	late      float64
	elsewhere *target
	stateDir  string
	moved     func()
	log       *slog.Logger
}

// tuning is a tuner with all that it needs of this machine.
type tuning struct {
	tuner *tuner.Tuner
	peers map[vpn.PublicKey]uint16
	watch *silenceWatch
	cfg   tuningConfig
}

// newTuning returns a tuning that ends with ctx, and does nothing before run.
func newTuning(ctx context.Context, cfg tuningConfig) *tuning {
	store, err := memory.Open(cfg.stateDir)
	if err != nil {
		cfg.log.Warn("what is learned about networks is forgotten at the end", "error", err)
	}
	measurer := &pathMeasurer{
		mark: cfg.mark, elsewhere: cfg.elsewhere, late: cfg.late, log: cfg.log,
		ports: portsIn(cfg.stateDir, cfg.log),
	}
	changes, err := network.Watch(ctx, cfg.name)
	if err != nil {
		cfg.log.Warn("changes of the network are noticed late", "error", err)
	}
	t := &tuning{peers: cfg.peers, cfg: cfg, watch: newSilenceWatch(cfg.log)}
	t.tuner = tuner.New(tuner.Config{
		Interface: cfg.name, Applier: cfg.applier, Measurer: measurer, Recommend: measurer.Recommend,
		Locate: locator(cfg.mark, store.Salt()), Memory: networkMemory{store, cfg.late},
		Peers: cfg.peers, Changes: changes, Moved: cfg.moved, Logger: cfg.log,
	})
	return t
}

// run tunes until ctx is done.
func (t *tuning) run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { t.tuner.Run(ctx) })
	running.Go(func() { t.watch.run(ctx, t.cfg.applier, t.peers) })
	running.Wait()
}

// locator finds the network that leads to an address past the tunnel itself.
func locator(mark func() uint32, salt []byte) tuner.Locator {
	return func(to netip.Addr) (tuner.Network, error) {
		here, err := network.Current(to, mark())
		if errors.Is(err, network.ErrOffline) {
			return tuner.Network{}, fmt.Errorf("%w: %w", tuner.ErrOffline, err)
		}
		if err != nil {
			return tuner.Network{}, err
		}
		return tuner.Network{
			ID: string(here.ID(salt)), Label: here.Label(), Local: here.Local,
			Unsure: here.Weak && here.Gateway.IsValid() && (here.Kind == network.Ethernet || here.Kind == network.Wireless),
		}, nil
	}
}

// stateDir returns the folder for what is kept over restarts: as the flag or
// systemd says, or where such things are on this system.
func stateDir(flag string, env func(string) (string, bool)) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if dir, _ := env("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/natprobe", nil
	}
	if dir, _ := env("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "natprobe"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder to keep what is learned about networks: %w; name one with --state-dir", err)
	}
	return filepath.Join(home, ".local", "state", "natprobe"), nil
}

// portsIn returns the memory of source ports in a state folder.
func portsIn(dir string, log *slog.Logger) probe.PortStore {
	return &portFile{path: filepath.Join(dir, "ports.json"), note: func(text string) { log.Warn("source ports", "note", text) }}
}

// silencePeriod is how often counters are looked at: a few times in each
// interval that matters.
const silencePeriod = 5 * time.Second

// silenceWatch notices peers whose keepalives silence ours.
type silenceWatch struct {
	log *slog.Logger

	mu   sync.Mutex
	seen map[vpn.PublicKey]*wgapply.Silence
	said map[vpn.PublicKey]string
}

func newSilenceWatch(log *slog.Logger) *silenceWatch {
	return &silenceWatch{log: log, seen: make(map[vpn.PublicKey]*wgapply.Silence), said: make(map[vpn.PublicKey]string)}
}

func (w *silenceWatch) run(ctx context.Context, of tuner.Applier, peers map[vpn.PublicKey]uint16) {
	ticker := time.NewTicker(silencePeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		states, err := of.Peers()
		if err != nil {
			continue // the tuner says so
		}
		for _, state := range states {
			if _, ours := peers[state.PublicKey]; ours {
				w.look(state)
			}
		}
	}
}

func (w *silenceWatch) look(state vpn.PeerState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	silence := w.seen[state.PublicKey]
	if silence == nil {
		silence = &wgapply.Silence{}
		w.seen[state.PublicKey] = silence
	}
	warning := silence.Add(time.Now(), state).String()
	if warning != "" && w.said[state.PublicKey] == "" {
		w.log.Warn("keepalives of ours are not sent", "why", warning)
	}
	w.said[state.PublicKey] = warning
}

func (w *silenceWatch) warnings() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range w.said {
		if text != "" {
			all = append(all, text)
		}
	}
	return all
}
