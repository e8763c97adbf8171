package simulate

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

// Network is a client, NATs, servers and the path between them. Make it with
// [New] and end it with [Network.Close]. All methods may be called from any
// goroutine at any time.
type Network struct {
	cfg   Config
	start time.Time

	mu      sync.Mutex
	idle    *sync.Cond // signalled when run ends
	closed  bool
	running bool
	timer   *time.Timer
	queue   queue
	seq     uint64
	sent    map[flow]uint64 // packets sent in each flow so far

	chain    natmodel.Chain
	client   *Host
	servers  map[netip.Addr]*Host
	lossOut  loss
	lossIn   loss
	downTill time.Duration // the link is down before this time
	block    func(natmodel.Packet) bool
	capture  func(time.Time, natmodel.Packet, bool)
	stats    Stats
}

// Stats counts packets. Each packet sent, and each copy made by duplication,
// ends in exactly one of the other counters or is still under way.
type Stats struct {
	Sent       int // by hosts and Inject
	Duplicated int // copies made by the network
	Delivered  int // put into a socket's queue
	Lost       int // by the path's loss
	Down       int // during an outage
	Blocked    int // by the function given to Block
	Refused    int // by a NAT, in either direction
	Unclaimed  int // came to an address or port where nobody listens
	Overflowed int // came to a socket whose queue was full
}

// New makes a network. Its clock starts now.
func New(cfg Config) (*Network, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	chain, err := natmodel.NewChain(cfg.NATs...)
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	n := &Network{
		cfg:     cfg,
		start:   time.Now(),
		sent:    make(map[flow]uint64),
		chain:   chain,
		servers: make(map[netip.Addr]*Host),
		lossOut: newLoss(cfg.LossOut, cfg.Burst, mix(cfg.Seed^0x6f7574)),
		lossIn:  newLoss(cfg.LossIn, cfg.Burst, mix(cfg.Seed^0x696e)),
	}
	n.idle = sync.NewCond(&n.mu)
	n.client = newHost(n, cfg.Client)
	return n, nil
}

// Client returns the host behind the NATs.
func (n *Network) Client() *Host { return n.client }

// Server returns the host outside with this address, the same one each time. An
// IPv4-mapped address means the IPv4 one.
func (n *Network) Server(addr netip.Addr) *Host {
	addr = addr.Unmap()
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.servers[addr]
	if h == nil {
		h = newHost(n, addr)
		n.servers[addr] = h
	}
	return h
}

// External returns the addresses under which servers see the client.
func (n *Network) External() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := outermostNAT(n.cfg.NATs); i >= 0 {
		return n.chain[i].Config().External
	}
	return []netip.Addr{n.client.addr}
}

// Mappings returns the number of live mappings in NAT i, 0 being the innermost;
// 0 where there is no such NAT.
func (n *Network) Mappings(i int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i < 0 || i >= len(n.chain) {
		return 0
	}
	return n.chain[i].Mappings(n.now())
}

// Stats returns the counts so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Close closes all sockets, forgets the packets under way and waits for a
// capture or block function that is running; none runs afterwards. Don't call it
// from such a function. Closing again does nothing.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.timer != nil {
		n.timer.Stop()
	}
	n.queue = nil
	n.client.closeAll()
	for _, h := range n.servers {
		h.closeAll()
	}
	for n.running {
		n.idle.Wait()
	}
	return nil
}

// now is the network's time. NATs and loss go by it.
func (n *Network) now() time.Duration { return time.Since(n.start) }
