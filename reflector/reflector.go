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

	mu   sync.Mutex
	core *core
	wake map[*port]chan struct{} // tells a socket's departures that one became due earlier
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
	return &Reflector{
		logger: cfg.Logger,
		core:   newCore(cfg, minter, time.Now()),
		wake:   make(map[*port]chan struct{}),
	}, nil
}

// Stats returns a snapshot of the counters.
func (r *Reflector) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.snapshot()
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
	p := &port{conn: conn, due: &heapSchedule{}}
	wake := make(chan struct{}, 1)
	r.mu.Lock()
	r.wake[p] = wake
	r.mu.Unlock()
	r.logger.Info("serving", "address", conn.LocalAddr().String())

	serving, stop := context.WithCancel(ctx)
	var departures sync.WaitGroup
	departures.Go(func() {
		r.departures(serving, p, wake)
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // lets the reader go
	})
	err := r.read(serving, p)
	stop()
	departures.Wait()
	_ = conn.SetReadDeadline(time.Time{})

	r.mu.Lock()
	delete(r.wake, p)
	dropped := r.core.shut(time.Now(), p)
	r.mu.Unlock()
	r.logger.Info("stopped", "address", conn.LocalAddr().String(), "bursts_dropped", dropped)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // a socket that was closed along with ctx is no failure
	}
	return fmt.Errorf("reflector: reading from %s: %w", conn.LocalAddr(), err)
}

const (
	// readFailures is how many reads may fail in a row. A few do where the
	// system hands a peer's ICMP errors to the socket.
	readFailures = 12
	// readBackoff is the wait after the second failure; it doubles with each.
	readBackoff = 5 * time.Millisecond
	// readBuffer holds every UDP datagram: where it doesn't, Windows fails.
	readBuffer = 64 << 10
)

// read answers datagrams until reading fails for good or ctx is done.
func (r *Reflector) read(ctx context.Context, p *port) error {
	buffer := make([]byte, readBuffer)
	for failures := 0; ; {
		n, addr, err := p.conn.ReadFrom(buffer)
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
		if reply := r.handle(now, p, addr, buffer[:n]); reply != nil {
			r.write(datagram{conn: p.conn, addr: addr, payload: reply})
		}
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

func (r *Reflector) handle(now time.Time, p *port, addr net.Addr, payload []byte) []byte {
	from := addrPort(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	before, had := p.due.next()
	reply := r.core.handle(now, p, addr, from, payload)
	if after, has := p.due.next(); has && (!had || after < before) {
		select {
		case r.wake[p] <- struct{}{}:
		default:
		}
	}
	return reply
}

// addrPort returns the address of a datagram's sender; invalid for what is no
// UDP address.
func addrPort(addr net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch addr := addr.(type) {
	case interface{ AddrPort() netip.AddrPort }:
		ap = addr.AddrPort()
	case nil:
	default:
		ap, _ = netip.ParseAddrPort(addr.String()) // invalid is what is left of an error
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// departures sends what is due at p until ctx is done.
func (r *Reflector) departures(ctx context.Context, p *port, wake <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
		for more := true; more && ctx.Err() == nil; {
			more = r.departOne(p)
		}
		if wait, ok := r.untilNext(p); ok {
			timer.Reset(wait)
		}
	}
}

// departOne sends the copy that is due, if one is, and its beacon.
func (r *Reflector) departOne(p *port) bool {
	r.mu.Lock()
	d, ok := r.core.depart(time.Now(), p)
	r.mu.Unlock()
	if !ok {
		return false
	}
	now := time.Now() // as late as can be: the prober takes the gap as measured
	packet, gap := d.encode(r.core, now)
	if _, err := packet.conn.WriteTo(packet.payload, packet.addr); err != nil {
		gap = wire.NotSent
	}
	r.mu.Lock()
	beacon, ok := r.core.departed(now, d, gap)
	r.mu.Unlock()
	if ok {
		r.write(beacon)
	}
	return true
}

func (r *Reflector) untilNext(p *port) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due, ok := p.due.next()
	return due - r.core.since(time.Now()), ok
}

// write sends an answer or a beacon. Where that fails the prober hears nothing,
// as if the network had lost it.
func (r *Reflector) write(d datagram) {
	if _, err := d.conn.WriteTo(d.payload, d.addr); err != nil {
		r.mu.Lock()
		r.core.stats.WriteErrors++
		r.mu.Unlock()
	}
}
