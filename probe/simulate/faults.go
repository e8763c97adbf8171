package simulate

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

// RebootNAT makes NAT i, 0 being the innermost, forget all its mappings. It fails
// where there is no such NAT.
func (n *Network) RebootNAT(i int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i < 0 || i >= len(n.chain) {
		return fmt.Errorf("simulate: no NAT %d to reboot, this path has %d", i, len(n.chain))
	}
	n.chain[i].Flush()
	return nil
}

// Outage takes the link between the outermost NAT and the outside down for d
// from now. Packets that come to it meanwhile, in either direction, are lost;
// outbound ones have refreshed their mappings by then. It doesn't shorten an
// outage that is under way.
func (n *Network) Outage(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.downTill = max(n.downTill, n.now()+d)
}

// ChangeAddress gives the outermost NAT that translates another external address
// in place of all it had; its mappings are lost. It fails, and changes nothing,
// where no box translates or the address is of another IP version.
func (n *Network) ChangeAddress(external netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := outermostNAT(n.cfg.NATs)
	if i < 0 {
		return errors.New("simulate: nothing on this path translates, so there is no external address to change")
	}
	return n.chain[i].ChangeExternal([]netip.Addr{external})
}

// SetLoss changes the shares of packets lost, 0 to 1, on their way out and in.
// Values outside that range count as its nearest end.
func (n *Network) SetLoss(out, in float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lossOut.set(out)
	n.lossIn.set(in)
}

// Block sets a function that says which packets outside are dropped, in either
// direction and between servers; nil: none. It sees packets as they are outside,
// and runs on the network's goroutine, one call at a time. It may call the
// network's methods except Close, and mustn't keep or change the payload.
func (n *Network) Block(block func(natmodel.Packet) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.block = block
}

// Capture sets a function that sees every packet outside, copies included; nil:
// none. Packets to and from the client are seen at the outside of the outermost
// NAT, others where they arrive. Delivered is false for packets that the network
// drops: by loss, outage or Block, or because the NATs don't let them in or
// nobody outside has that address. The rules for Block's function hold here too. In a
// bubble, synctest.Wait makes what it wrote safe to read.
func (n *Network) Capture(capture func(at time.Time, p natmodel.Packet, delivered bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.capture = capture
}

// Inject sends a packet that seems to come from p.Src, wherever that is: what a
// forger outside can do. Its payload mustn't change afterwards. A TTL of 0 means
// natmodel.DefaultTTL.
func (n *Network) Inject(p natmodel.Packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	if p.TTL == 0 {
		p.TTL = natmodel.DefaultTTL
	}
	n.send(p, false)
}
