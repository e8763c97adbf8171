package reflector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// Reflector serves any number of sockets, which share its sessions, orders and
// limits. Make it with New.
type Reflector struct {
	logger *slog.Logger

	start      time.Time    // its monotonic reading is the zero of all durations here
	plainMeter *meter       // plain STUN requests, by network
	gate       *gate        // of natprobe messages
	advertise  []netip.Addr // of sockets that are no Discovery's

	mu    sync.Mutex
	core  *core
	ports map[*port]struct{} // that are served
}

// New returns a Reflector with a boot id of its own. It starts nothing.
func New(cfg Config) (*Reflector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("reflector: %w", err)
	}
	if len(cfg.Secret) == 0 {
		cfg.Secret = make([]byte, 2*wire.MinSecret)
		_, _ = rand.Read(cfg.Secret) // never fails: crypto/rand ends the program instead
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	minter, err := wire.NewMinter(cfg.Secret)
	if err != nil {
		return nil, fmt.Errorf("reflector: %w", err)
	}
	now, limits := time.Now(), cfg.Limits.withDefaults()
	r := &Reflector{
		logger:     cfg.Logger,
		start:      now,
		gate:       newGate(cfg, limits, minter, now),
		plainMeter: newMeter(limits.networkPPS()),
		advertise:  cfg.Advertise,
		core:       newCore(limits, now),
		ports:      make(map[*port]struct{}),
	}
	return r, nil
}

// Stats returns a snapshot of the counters.
func (r *Reflector) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.core.snapshot(time.Now())
	r.gate.addTo(&s)
	for p := range r.ports {
		p.addTo(&s)
	}
	s.total()
	s.Sockets = len(r.ports)
	return s
}

// Serve answers what arrives at conn until ctx is done, and returns nil then;
// bursts that are still due are dropped, and conn is left open without a read
// deadline. Before that it returns an error only where conn can't be read any
// more. Several sockets may be served at the same time.
//
// A burst leaves through the socket that its order came to, a beacon through
// the one that the session's control flow came to. Conn must name addresses as
// *net.UDPAddr does, and must obey SetReadDeadline, or be closed when ctx is
// done.
func (r *Reflector) Serve(ctx context.Context, conn net.PacketConn) error {
	return r.serve(ctx, []*port{newPort(conn, r.advertise...)})
}

// ServeShared is Serve for several sockets, as those of ListenShared. It ends
// when one of them can't be read any more.
func (r *Reflector) ServeShared(ctx context.Context, conns []net.PacketConn) error {
	ports := make([]*port, 0, len(conns))
	for _, conn := range conns {
		ports = append(ports, newPort(conn, r.advertise...))
	}
	return r.serve(ctx, ports)
}

// serve serves ports until ctx is done, or one can't be read any more: then the
// others end too.
func (r *Reflector) serve(ctx context.Context, ports []*port) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(ports))
	var all sync.WaitGroup
	for i, p := range ports {
		all.Go(func() {
			errs[i] = r.servePort(serving, p)
			stop()
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // a socket that was closed along with ctx is no failure
	}
	return errors.Join(errs...)
}

// servePort returns an error where p can't be read any more before ctx is done.
func (r *Reflector) servePort(ctx context.Context, p *port) error {
	conn := p.conn
	r.mu.Lock()
	r.ports[p] = struct{}{}
	p.due, p.alarm = newWheel(r.core.book), newAlarm(p.transport)
	r.mu.Unlock()
	r.logger.Info("serving", "address", conn.LocalAddr().String())

	serving, stop := context.WithCancel(ctx)
	var departures sync.WaitGroup
	departures.Go(func() {
		r.departures(serving, p)
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // lets the reader go
	})
	departures.Go(func() {
		<-serving.Done()
		p.alarm.wake()
	})
	err := r.read(serving, p)
	stop()
	departures.Wait()
	p.alarm.close()
	_ = conn.SetReadDeadline(time.Time{})

	r.mu.Lock()
	delete(r.ports, p)
	dropped := r.core.shut(time.Now(), p)
	p.addTo(&r.core.stats)
	for other := range r.ports { // it forgets from now on what p would have
		other.alarm.wake()
		break
	}
	r.mu.Unlock()
	r.logger.Info("stopped", "address", conn.LocalAddr().String(), "bursts_dropped", dropped)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // as in serve
	}
	return fmt.Errorf("reflector: reading from %s: %w", conn.LocalAddr(), err)
}

const (
	// readFailures is how many reads may fail in a row. A few do where the
	// system hands a peer's ICMP errors to the socket.
	readFailures = 12
	// readBackoff is the wait after the second failure; it doubles with each.
	readBackoff = 5 * time.Millisecond
)

// read answers datagrams until reading fails for good or ctx is done.
func (r *Reflector) read(ctx context.Context, p *port) error {
	var a answers
	for failures := 0; ; {
		batch, err := p.transport.receive()
		now := time.Now()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if failures++; errors.Is(err, net.ErrClosed) || failures == readFailures {
				return err
			}
			if failures > 1 {
				pause(ctx, readBackoff<<failures)
			}
			continue
		}
		failures = 0
		r.handle(now, p, batch, &a)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// handle answers a batch of datagrams.
func (r *Reflector) handle(now time.Time, p *port, batch []packet, a *answers) {
	a.reset()
	at := now.Sub(r.start)
	var q wire.Plain
	for i := range batch {
		in := &batch[i]
		a.count.bytesIn += uint64(wire.IPBytes(in.peer.Addr(), len(in.data)+in.cut)) //nolint:gosec // a datagram's size
		form := wire.FormForeign
		if answerable(in.peer) && in.cut == 0 {
			form = wire.ParsePlain(in.data, &q)
		}
		switch form {
		case wire.FormPlain:
			r.plain(at, p, in, &q, a)
		case wire.FormNatprobe:
			if reply := r.natprobe(now, p, in); reply != nil {
				a.packets = append(a.packets, packet{way: in.way, data: reply})
			}
		case wire.FormForeign:
			a.count.foreign++
		}
	}
	p.tally.add(&a.count)
	p.deliver(a.packets)
}

// natprobe takes a natprobe message, and returns what to send back.
func (r *Reflector) natprobe(now time.Time, p *port, in *packet) []byte {
	v, request, reply := r.gate.enter(now, p, in.way, in.data)
	if request == nil {
		return reply
	}
	return r.gate.leave(v, r.serveProven(v, request))
}

// serveProven hands the request of a proven address to the core.
func (r *Reflector) serveProven(v visit, request wire.Request) wire.Reply {
	answer, sooner := r.handleProven(v, request)
	if sooner {
		v.port.alarm.wake()
	}
	return answer
}

// handleProven says besides whether something is to be done at v's port sooner than
// before.
func (r *Reflector) handleProven(v visit, request wire.Request) (answer wire.Reply, sooner bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, due := r.core.since(v.at), v.port.due
	before, had := due.next(at)
	idle := r.core.idle()
	answer = r.core.handle(v, request)
	after, has := due.next(at)
	return answer, idle || has && (!had || after < before)
}
