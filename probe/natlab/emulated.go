package natlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

// emulated is a network whose boxes are models. Its addresses exist in it only.
// Packets go from a client's socket, which is none of the system's, through the
// models, and cross a loopback link to the server's socket, which is one: so
// what listens there works as it does elsewhere, while the lab needs no
// privileges, no address but the loopback's, and one port of this machine for
// each socket of the server and one for itself.
type emulated struct {
	spec     Spec
	segments []segment
	link     *net.UDPConn // this end of the loopback

	mu      sync.Mutex
	clock   func() time.Duration // since the lab began
	chance  *rand.Rand
	closed  bool
	up      bool           // the client's link
	path    natmodel.Chain // what flows go through
	dns     natmodel.Chain // the same for flows to port 53, where these differ
	lossOut float64
	lossIn  float64
	clients map[netip.AddrPort]*clientSocket
	servers map[netip.AddrPort]*serverSocket

	pump sync.WaitGroup
}

func startEmulated(_ context.Context, spec Spec) (backend, error) {
	began := time.Now()
	e := &emulated{
		spec:     spec,
		segments: plan(spec.Family, len(spec.NATs), usual),
		clock:    func() time.Duration { return time.Since(began) },
		chance:   rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), //nolint:gosec // loss is no secret
		up:       true,
		lossOut:  spec.Loss,
		lossIn:   spec.Loss,
		clients:  make(map[netip.AddrPort]*clientSocket),
		servers:  make(map[netip.AddrPort]*serverSocket),
	}
	var err error
	if e.path, err = e.chain(0); err != nil {
		return nil, err
	}
	for _, nat := range spec.NATs {
		if nat.DNS > 0 {
			if e.dns, err = e.chain(dnsPort); err != nil {
				return nil, err
			}
		}
	}
	if e.link, err = listenLoopback(); err != nil {
		return nil, err
	}
	e.pump.Go(e.carryInbound)
	return e, nil
}

// chain makes the models of all boxes, as flows to a port find them.
func (e *emulated) chain(port uint16) (natmodel.Chain, error) {
	configs := make([]natmodel.Config, 0, len(e.spec.NATs))
	for i, nat := range e.spec.NATs {
		configs = append(configs, nat.model(port, e.externalAddrs(i), e.chance.Uint64()))
	}
	return natmodel.NewChain(configs...)
}

// model returns a box as a model, as flows to a port find it.
func (n NATSpec) model(port uint16, outside []netip.Addr, seed uint64) natmodel.Config {
	m := natmodel.Linux(n.timers(port))
	m.External = outside
	m.RefreshInbound = !n.OutboundOnly
	m.Sweep = n.Sweep
	m.MaxMappings = n.Table
	m.Seed = seed
	if n.EndpointIndependent {
		m.Mapping, m.Filtering, m.PortOverlap = natmodel.EndpointIndependent, natmodel.EndpointIndependent, false
	}
	if n.RandomPorts {
		m.Ports = natmodel.Random
	}
	if n.Ports > 0 {
		m.MinPort, m.MaxPort = firstPort, uint16(firstPort+n.Ports-1) //nolint:gosec // validated
	}
	if n.Addresses > 1 {
		m.Pooling = natmodel.Arbitrary
	}
	if n.Strict || n.None {
		m.WANInput = natmodel.Drop
	}
	m.NoTranslation = n.None
	return m
}

// through returns the models for a flow to one of the server's ports.
func (e *emulated) through(port uint16) natmodel.Chain {
	if port == dnsPort && e.dns != nil {
		return e.dns
	}
	return e.path
}

// sendOut passes a client's packet on, and loses it where such a network does.
func (e *emulated) sendOut(from, to netip.AddrPort, payload []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !e.up {
		return errNoNetwork
	}
	packet := natmodel.Packet{Src: from, Dst: to, TTL: natmodel.DefaultTTL, Payload: payload}
	packet, ok := e.through(to.Port()).Outbound(e.clock(), packet)
	if !ok || e.chance.Float64() < e.lossOut {
		return nil
	}
	if server := e.servers[packet.Dst]; server != nil {
		return e.cross(packet.Src, payload, server.real)
	}
	return nil
}

// cross sends a packet over the loopback link. What it can't carry is lost.
func (e *emulated) cross(from netip.AddrPort, payload []byte, to netip.AddrPort) error {
	_, err := e.link.WriteToUDPAddrPort(frame(from, payload), to)
	if errors.Is(err, net.ErrClosed) {
		return errNoNetwork
	}
	return err
}

// carryInbound passes the server's packets on until the lab is closed.
func (e *emulated) carryInbound() {
	buffer := make([]byte, maxFrame)
	for {
		n, sender, err := e.link.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // Windows tells of a server's socket that was closed
		}
		if to, payload, ok := unframe(buffer[:n]); ok {
			e.deliver(unmapped(sender), to, payload)
		}
	}
}

// deliver passes a packet on to a client. It comes from the server's socket with
// that address on the loopback.
func (e *emulated) deliver(sender, to netip.AddrPort, payload []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for local, server := range e.servers {
		if server.real != sender {
			continue
		}
		if !e.up || e.chance.Float64() < e.lossIn {
			return
		}
		packet := natmodel.Packet{Src: local, Dst: to, TTL: natmodel.DefaultTTL, Payload: payload}
		packet, ok := e.through(local.Port()).Inbound(e.clock(), packet)
		if client := e.clients[packet.Dst]; ok && client != nil {
			client.arrive(local, payload)
		}
		return
	}
}

func (e *emulated) clientAddr() netip.Addr    { return e.segments[0].inner }
func (e *emulated) serverAddr() netip.Addr    { return e.segments[len(e.segments)-1].outer }
func (e *emulated) elsewhereAddr() netip.Addr { return netip.Addr{} }

func (e *emulated) externalAddrs(box int) []netip.Addr {
	return e.segments[box+1].pool(e.spec.NATs[box].Addresses)
}

func (e *emulated) flush(box int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.path[box].Flush()
	if e.dns != nil {
		e.dns[box].Flush()
	}
	return nil
}

func (e *emulated) setLoss(outbound, inbound float64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lossOut, e.lossIn = outbound, inbound
	return nil
}

func (e *emulated) setLink(up bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.up = up
	return nil
}

func (e *emulated) setTimers(int, NATSpec) error {
	return e.lacks("timers that change")
}

func (e *emulated) startClient(*exec.Cmd) error { return e.lacks("room for programs") }
func (e *emulated) startServer(*exec.Cmd) error { return e.lacks("room for programs") }
func (e *emulated) move(int) error              { return nil } // there is one uplink only

func (e *emulated) lacks(what string) error {
	return fmt.Errorf("lab %q is emulated and has no %s: %w", e.spec.Name, what, errors.ErrUnsupported)
}

func (e *emulated) close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	err := e.link.Close()
	e.pump.Wait()
	return err
}
