package tuner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn"
)

// world is all that a tuner sees, under a test's control. Everything in it is
// touched in one bubble only, at moments when the tuner is at rest.
type world struct {
	mu      sync.Mutex // the tuner's paths run side by side
	t       *testing.T
	begun   time.Time
	peers   map[vpn.PublicKey]vpn.PeerState
	network Network
	offline bool
	// lifetimes are the seconds for which the NAT of each network keeps a
	// mapping; the interval that the world recommends is one less. 0: the
	// reflector doesn't answer there.
	lifetimes map[string]int
	undecided bool // measurements end without enough evidence
	readOnly  bool // Remember fails after it remembered, as on a read-only disk
	memory    map[string]Known

	changes    chan struct{}
	set        []string // "time peer: seconds"
	measuring  int
	measured   []string
	verified   []string
	moves      int
	applyFails error
	peersFail  error
	deaf       map[vpn.PublicKey]bool // peers that answer no measurements
}

const measureTime = 20 * time.Second

func key(n byte) vpn.PublicKey { return vpn.PublicKey{n} }

var (
	home  = Network{ID: "home", Label: "home", Local: netip.MustParseAddr("192.168.1.2")}
	cafe  = Network{ID: "cafe", Label: "café", Local: netip.MustParseAddr("10.0.0.7")}
	first = key(1)
)

func newWorld(t *testing.T) *world {
	return &world{
		t: t, begun: time.Now(), network: home,
		peers: map[vpn.PublicKey]vpn.PeerState{
			first: {PublicKey: first, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820")},
		},
		lifetimes: map[string]int{"home": 53, "cafe": 30},
		memory:    make(map[string]Known), changes: make(chan struct{}, 1),
	}
}

func (w *world) stamp(format string, args ...any) string {
	return fmt.Sprintf("%v ", time.Since(w.begun).Round(time.Second)) + fmt.Sprintf(format, args...)
}

func (w *world) Peers() ([]vpn.PeerState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.peersFail != nil {
		return nil, w.peersFail
	}
	return slices.Collect(maps.Values(w.peers)), nil
}

func (w *world) SetKeepalive(_ context.Context, peer vpn.PublicKey, seconds uint16) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.applyFails != nil {
		return w.applyFails
	}
	s, ok := w.peers[peer]
	if !ok {
		return errors.New("no such peer")
	}
	s.Keepalive = time.Duration(seconds) * time.Second
	w.peers[peer] = s
	w.set = append(w.set, w.stamp("peer %d: %d", peer[0], seconds))
	return nil
}

func (w *world) busy(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	if w.measuring++; w.measuring > 2 { // one for each family
		w.t.Errorf("%d measurements at once", w.measuring)
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.measuring--
		w.mu.Unlock()
	}()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) Measure(ctx context.Context, to Target) (*results.Record, error) {
	var lifetime int
	w.change(func() { lifetime = w.lifetimes[w.network.ID] })
	err := w.busy(ctx, measureTime)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.measured = append(w.measured, w.stamp("%s: stopped", w.network.ID))
		return nil, err
	}
	if lifetime == 0 || w.deaf[to.Peer] {
		w.measured = append(w.measured, w.stamp("%s: no reflector", w.network.ID))
		return nil, fmt.Errorf("%w at %v", ErrNoReflector, to.Endpoint)
	}
	w.measured = append(w.measured, w.stamp("%s: %d", w.network.ID, lifetime))
	upper := float64(lifetime) + 0.5
	return &results.Record{Lifetimes: []results.Lifetime{{Regime: results.Exchange, LowerS: float64(lifetime), UpperS: &upper}}}, nil
}

func (w *world) Verify(ctx context.Context, _ Target, interval time.Duration) (*results.Verification, error) {
	var lifetime time.Duration
	w.change(func() { lifetime = time.Duration(w.lifetimes[w.network.ID]) * time.Second })
	err := w.busy(ctx, 2*interval)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	v := &results.Verification{}
	switch {
	case lifetime == 0:
		w.verified = append(w.verified, w.stamp("no reflector"))
		return nil, ErrNoReflector
	case interval >= lifetime:
		v.Samples = results.NewSamples(0, 8, 0)
	default:
		v.Samples = results.NewSamples(8, 0, 0)
	}
	w.verified = append(w.verified, w.stamp("%v: %d of 8", interval, v.Reached))
	return v, nil
}

func (w *world) recommend(r *results.Record) results.Recommendation {
	seconds := int(r.Lifetimes[0].LowerS) - 1
	if w.undecided {
		return results.Recommendation{FallbackS: &seconds, Reason: "too few trials"}
	}
	return results.Recommendation{KeepaliveS: &seconds, Basis: "exchange"}
}

func (w *world) locate(netip.Addr) (Network, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.offline {
		return Network{}, ErrOffline
	}
	return w.network, nil
}

func memoryKey(network string, family results.Family) string { return network + " " + string(family) }

func (w *world) Recall(network string, family results.Family) (Known, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.memory[memoryKey(network, family)]
	return k, ok
}

func (w *world) Remember(k Known) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.memory[memoryKey(k.Network, k.Family)] = k
	if w.readOnly {
		return errors.New("read-only file system")
	}
	return nil
}

func (w *world) Forget(network string, family results.Family) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.memory, memoryKey(network, family))
	return nil
}

// move moves the machine and lets it notice.
func (w *world) move(n Network) {
	w.change(func() { w.network, w.offline = n, false })
	w.signal()
}

// change does something to the world.
func (w *world) change(something func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	something()
}

func (w *world) signal() {
	w.changes <- struct{}{}
	synctest.Wait()
}

// pass lets time go by. A tunnel that works makes a handshake now and then.
func (w *world) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Until(end), 30*time.Second))
		synctest.Wait()
		w.change(func() {
			for k, s := range w.peers {
				if !w.offline {
					s.LastHandshake = time.Now()
					w.peers[k] = s
				}
			}
		})
	}
}

// interval is what the first peer has now, in seconds.
func (w *world) interval() (seconds int) {
	w.change(func() { seconds = int(w.peers[first].Keepalive / time.Second) })
	return seconds
}

// tuned runs a scene with a tuner in the world.
func tuned(t *testing.T, change func(*world, *Config), scene func(w *world, tuner *Tuner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := Config{
			Interface: "wg0", Applier: w, Measurer: w, Locate: w.locate, Memory: w, Recommend: w.recommend,
			Peers: map[vpn.PublicKey]uint16{first: 0}, Changes: w.changes, Moved: func() { w.moves++ },
		}
		if change != nil {
			change(w, &cfg)
		}
		tuner := New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			tuner.Run(ctx)
			close(ended)
		}()
		synctest.Wait()
		scene(w, tuner)
		cancel()
		<-ended
		if w.measuring != 0 {
			t.Errorf("%d measurements go on after the end", w.measuring)
		}
	})
}
