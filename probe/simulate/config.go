package simulate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/natprobe/natprobe/probe/natmodel"
)

const (
	// DefaultInside is the one-way delay between client and NATs: a home network's.
	DefaultInside = time.Millisecond
	// DefaultOutside is the one-way delay between NATs and servers: with
	// DefaultInside a round trip of 42 ms, that of a server in the same region.
	DefaultOutside = 20 * time.Millisecond
	// DefaultQueue is the number of datagrams that wait in a socket, about what
	// Linux's default receive buffer holds of small ones.
	DefaultQueue = 256
)

// Config describes a network. The zero value is an open path without loss.
type Config struct {
	// NATs are the boxes on the path, innermost first; none: an open path. Where
	// External is empty, an address for documentation (RFC 5737, RFC 3849) is filled
	// in, or shared address space (RFC 6598) where another NAT follows.
	// A Seed of 0 is replaced by one made from the network's.
	NATs []natmodel.Config
	// Client is the client's address; by default 192.168.1.2.
	Client netip.Addr
	// Inside and Outside are one-way delays, the same in both directions, between
	// client and NATs and between NATs and servers. 0 means DefaultInside and
	// DefaultOutside.
	Inside, Outside time.Duration
	// Jitter is the most that is added to Outside, drawn evenly for each packet.
	// Packets may overtake each other.
	Jitter time.Duration
	// LossOut and LossIn are the shares of packets lost, 0 to 1, on their way from
	// client to server and back.
	LossOut, LossIn float64
	// Burst makes loss come in spells: their mean length. Each direction has
	// its own spells, in which everything is lost, and so many of them that the
	// shares above hold over time (a Gilbert model in continuous time). 0: each
	// packet is lost or not for itself.
	Burst time.Duration
	// LossInside moves loss between client and NATs. By default it is outside,
	// where an outbound packet has refreshed all mappings before it is lost.
	LossInside bool
	// Duplicate is the share of packets, 0 to 1, that are doubled outside.
	Duplicate float64
	// Queue is the number of datagrams that a socket holds before it drops some;
	// 0 means DefaultQueue.
	Queue int
	// Seed starts everything random.
	Seed uint64
}

// Validate reports all that is wrong with the config, naming field, value and range.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("simulate: "+format, args...)) }
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Inside", c.Inside}, {"Outside", c.Outside}, {"Jitter", c.Jitter}, {"Burst", c.Burst}} {
		if d.value < 0 {
			bad("%s is %v, want 0 or more", d.name, d.value)
		}
	}
	for _, s := range []struct {
		name  string
		value float64
	}{{"LossOut", c.LossOut}, {"LossIn", c.LossIn}, {"Duplicate", c.Duplicate}} {
		if !isShare(s.value) {
			bad("%s is %v, want 0 to 1", s.name, s.value)
		}
	}
	if c.Queue < 0 {
		bad("Queue is %d, want 0 (default) or more", c.Queue)
	}
	if c.Client.IsValid() && (c.Client.IsUnspecified() || c.Client.Is4In6() || c.Client.Zone() != "") {
		bad("Client is %v, want a plain IPv4 or IPv6 address", c.Client)
	}
	filled := c.withDefaults()
	for i, nat := range filled.NATs {
		if err := nat.Validate(); err != nil {
			bad("NATs[%d]: %w", i, err)
		} else if !nat.NoTranslation && nat.External[0].Is4() != filled.Client.Is4() {
			bad("NATs[%d].External[0] is %v, want the IP version of Client, %v", i, nat.External[0], filled.Client)
		}
	}
	return errors.Join(errs...)
}

func isShare(f float64) bool { return f >= 0 && f <= 1 }

// withDefaults fills in what was left at zero.
func (c Config) withDefaults() Config {
	if !c.Client.IsValid() {
		c.Client = netip.AddrFrom4([4]byte{192, 168, 1, 2})
	}
	if c.Inside == 0 {
		c.Inside = DefaultInside
	}
	if c.Outside == 0 {
		c.Outside = DefaultOutside
	}
	if c.Queue == 0 {
		c.Queue = DefaultQueue
	}
	c.NATs = slices.Clone(c.NATs)
	outermost := outermostNAT(c.NATs)
	for i := range c.NATs {
		nat := &c.NATs[i]
		if len(nat.External) == 0 && !nat.NoTranslation {
			nat.External = []netip.Addr{defaultExternal(i, i == outermost, c.Client.Is4())}
		}
		if nat.Seed == 0 {
			nat.Seed = mix(c.Seed + uint64(i))
		}
	}
	return c
}

// outermostNAT finds the last box that translates, whose address servers see; -1
// where none does.
func outermostNAT(boxes []natmodel.Config) int {
	for i, box := range slices.Backward(boxes) {
		if !box.NoTranslation {
			return i
		}
	}
	return -1
}

// defaultExternal is the address of a NAT that was given none.
func defaultExternal(i int, outermost, v4 bool) netip.Addr {
	low := byte(i + 2) //nolint:gosec // chains are short, and addresses in them need not differ
	switch {
	case v4 && outermost:
		return netip.AddrFrom4([4]byte{198, 51, 100, 1})
	case v4:
		return netip.AddrFrom4([4]byte{100, 64, 0, low})
	case outermost:
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, 15: 1})
	default:
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 2, 15: low})
	}
}
