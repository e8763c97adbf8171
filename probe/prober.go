package probe

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// ListenFunc opens a UDP socket, as net.ListenConfig.ListenPacket does.
type ListenFunc func(ctx context.Context, network, address string) (net.PacketConn, error)

// ErrUnreachable reports that the reflector did not answer.
var ErrUnreachable = errors.New("no answer from the reflector")

// ErrFiles reports that this machine lets the program open too few sockets.
var ErrFiles = errors.New("too few files may be open at a time; allow 64 at least (\"ulimit -n\"), better 450")

// ErrRefused reports that the reflector answered, but would not measure.
var ErrRefused = errors.New("the reflector refuses")

// Prober runs a measurement over sockets.
type Prober struct {
	Config  Config
	Listen  ListenFunc     // nil: the system's sockets
	Observe func(Progress) // called from Measure's goroutine, a few times a second; nil: nobody looks
	Logger  *slog.Logger   // nil: silent
	Ports   PortStore      // nil: source ports are not remembered across runs

	clocks *clocks // nil: the system's
}

const (
	observePeriod = 250 * time.Millisecond
	inboxSize     = 512
)

// Measure runs the measurement until each regime has its bracket, the budget
// is spent or ctx is done. Its error wraps ErrConfig, ErrUnreachable,
// ErrRefused, ErrFiles or is ctx.Err(). The record is not nil unless the configuration
// is bad: an interrupted run keeps what it has.
func (p *Prober) Measure(ctx context.Context) (*results.Record, error) {
	if err := p.Config.Validate(); err != nil {
		return nil, err
	}
	s := newShell(p.Listen, p.Logger, p.Config.Reflector, p.clocks)
	s.engine = newEngine(p.Config, loadPorts(p.Ports, s.log), s.clock.begun)
	var observe func()
	if p.Observe != nil {
		observe = func() { p.Observe(s.engine.progress()) }
	}
	err := s.run(ctx, observe)
	savePorts(p.Ports, s.log, s.engine.ports.state)
	return s.engine.record(), err
}

// newShell returns a shell without an engine yet.
func newShell(listen ListenFunc, log *slog.Logger, reflector netip.AddrPort, of *clocks) *shell {
	if of == nil {
		system := systemClocks()
		of = &system
	}
	s := &shell{
		listen: listen, log: log,
		sockets: make(map[flowID]net.PacketConn),
		inbox:   make(chan datagram, inboxSize),
		clock:   newClock(*of),
		peer:    net.UDPAddrFromAddrPort(netip.AddrPortFrom(reflector.Addr().Unmap(), reflector.Port())),
	}
	if s.listen == nil {
		s.listen = (&net.ListenConfig{}).ListenPacket
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.network, s.wildcard = "udp4", "0.0.0.0"
	if reflector.Addr().Unmap().Is6() {
		s.network, s.wildcard = "udp6", "::"
	}
	return s
}

func loadPorts(ports PortStore, log *slog.Logger) PortState {
	if ports == nil {
		return PortState{}
	}
	state, err := ports.Load()
	if err != nil {
		log.Warn("used source ports are not known, starting anew", "error", err)
	}
	return state
}

func savePorts(ports PortStore, log *slog.Logger, state PortState) {
	if ports == nil {
		return
	}
	if err := ports.Save(state); err != nil {
		log.Warn("used source ports can't be remembered", "error", err)
	}
}

// shell moves packets for an engine, and knows nothing of what they mean.
type shell struct {
	engine   *engine
	listen   ListenFunc
	log      *slog.Logger
	network  string
	wildcard string
	peer     net.Addr
	clock    *clock

	sockets map[flowID]net.PacketConn
	inbox   chan datagram
	readers sync.WaitGroup
}

// datagram is what a socket received.
type datagram struct {
	at      time.Duration
	flow    flowID
	from    netip.AddrPort
	payload []byte
}

// run drives the engine until it is over or ctx is done. It calls observe, if
// that isn't nil, a few times a second and at the end.
func (s *shell) run(ctx context.Context, observe func()) error {
	if observe != nil {
		defer observe()
	}
	defer s.closeAll()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var observed time.Duration
	for {
		s.clock.look()
		s.drain()
		s.engine.advance(s.clock.now())
		s.carryOut(ctx, s.engine.take())
		if s.engine.over {
			return s.engine.err
		}
		if now := s.clock.now(); observe != nil && now-observed >= observePeriod {
			observed = now
			observe()
		}
		if at, ok := s.engine.wake(); ok {
			timer.Reset(max(at-s.clock.now(), 0))
		}
		select {
		case <-ctx.Done():
			s.engine.end(ctx.Err())
			return ctx.Err()
		case d := <-s.inbox:
			s.engine.receive(d.at, d.flow, d.from, d.payload)
		case <-timer.C:
		}
	}
}

// drain passes on everything that has arrived, before timers conclude from
// what has not.
func (s *shell) drain() {
	for {
		select {
		case d := <-s.inbox:
			s.engine.receive(d.at, d.flow, d.from, d.payload)
		default:
			return
		}
	}
}

func (s *shell) carryOut(ctx context.Context, actions []action) {
	for _, a := range actions {
		switch a.kind {
		case actionOpen:
			s.open(ctx, a.flow, a.port)
		case actionSend:
			conn := s.sockets[a.flow]
			if conn == nil {
				continue // its open failed, and the engine knows
			}
			if err := s.write(conn, a); err != nil {
				s.log.Debug("packet not sent", "error", err)
				s.engine.failed(a.flow, err)
			}
		case actionClose:
			if conn := s.sockets[a.flow]; conn != nil {
				delete(s.sockets, a.flow)
				_ = conn.Close() // nothing is buffered in a UDP socket
			}
		}
	}
}

func (s *shell) write(conn net.PacketConn, a action) error {
	if a.hops > 0 {
		return writeHops(conn, a.payload, s.peer, a.hops)
	}
	_, err := conn.WriteTo(a.payload, s.peer)
	return err
}

func (s *shell) open(ctx context.Context, id flowID, port uint16) {
	conn, err := s.listen(ctx, s.network, net.JoinHostPort(s.wildcard, strconv.Itoa(int(port))))
	if err != nil {
		s.log.Debug("source port not opened", "port", port, "error", err)
		s.engine.failed(id, err)
		return
	}
	s.sockets[id] = conn
	s.readers.Go(func() { s.read(ctx, id, conn) })
}

// read passes a socket's datagrams on until the socket is closed.
func (s *shell) read(ctx context.Context, id flowID, conn net.PacketConn) {
	buf := make([]byte, wire.MaxPayload+1)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		d := datagram{at: s.clock.now(), flow: id}
		if err != nil {
			// What some systems make of an ICMP error on unconnected sockets too, and
			// Windows of a datagram that is longer than the buffer: something came in,
			// from nobody who is known. The socket goes on; a broken one must not spin.
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		} else if udp, ok := from.(*net.UDPAddr); ok {
			d.payload = append([]byte(nil), buf[:n]...)
			d.from = netip.AddrPortFrom(udp.AddrPort().Addr().Unmap(), udp.AddrPort().Port())
		}
		select {
		case s.inbox <- d:
		case <-ctx.Done():
			return
		}
	}
}

// closeAll closes every socket and waits for its reader, which may be about
// to hand on a datagram that nobody wants any more.
func (s *shell) closeAll() {
	for _, conn := range s.sockets {
		_ = conn.Close()
	}
	done := make(chan struct{})
	go func() {
		s.readers.Wait()
		close(done)
	}()
	for {
		select {
		case <-s.inbox:
		case <-done:
			return
		}
	}
}
