package reflector

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// Unlimited lifts a limit, for benches and labs. On a public address it takes
// away what keeps a reflector harmless or alive.
const Unlimited = -1

// MaxPPS is the largest Limits.PPS: far above what a machine can take, and within what
// a meter can tell.
const MaxPPS = 10_000_000

// The default limits.
const (
	// DefaultMaxDelay is above the longest timer that UDP mappings are known to
	// have on boxes that people use (350 s), with room for a refinement.
	DefaultMaxDelay = 10 * time.Minute
	// DefaultMaxCopies is what a prober needs at 30 % loss.
	DefaultMaxCopies = wire.MaxCopies
	// DefaultPending lets two default runs (400 flows each) share one address,
	// as behind a carrier NAT or in a family.
	DefaultPending = 1024
	// DefaultPPS is several times what a default run sends (40 flows/s with up
	// to three packets each, and its control flow).
	DefaultPPS = 400
	// DefaultSlotAddress and DefaultSlotPrefix are the packets due in any one
	// second to one address (IPv4, or IPv6 /64) and to one /24 or /48. They keep
	// orders spread over minutes from arriving as one pulse.
	DefaultSlotAddress = 128
	DefaultSlotPrefix  = 512
	// DefaultOrders is the memory for orders, pending and remembered: up to 50 MB
	// when full.
	DefaultOrders = 1 << 18
	// DefaultSessions is the memory for sessions; each is one running prober.
	DefaultSessions = 1 << 14
)

const (
	// maxDelay is the largest MaxDelay: gaps travel as microseconds in 32 bits.
	maxDelay = time.Hour
	// sessionsPerAddress lets a carrier NAT's customers measure at the same time
	// and keeps one address from taking all sessions.
	sessionsPerAddress = 64
	// prefixShare is how many addresses' worth of pending orders and sessions
	// one /24 or /48 may hold: a /48 has 65,536 /64s.
	prefixShare = 8
	// networkRate is how many addresses' worth of plain STUN requests a second a
	// /24 or /48 may send, and of natprobe's messages without a good token.
	networkRate = 4
)

// Limits bounds what a reflector does for whom. The zero value of a field
// stands for its default. Where it says so, Unlimited lifts the limit.
type Limits struct {
	MaxDelay    time.Duration // longest delay of an order, whole seconds, 1 s to 1 h
	MaxCopies   int           // copies in a burst, 1 to wire.MaxCopies
	Pending     int           // orders that one address may have pending, or Unlimited
	PPS         int           // packets a second that one address may send with a token, and without, or Unlimited
	SlotAddress int           // packets due to one address in a second, or Unlimited
	SlotPrefix  int           // packets due to one /24 or /48 in a second, or Unlimited
	Orders      int           // orders in memory, at least 1
	Sessions    int           // sessions in memory, at least 1
}

// Config is what a Reflector is made from. Its zero value is useful.
type Config struct {
	// Secret makes tokens; reflectors that share it accept each other's. At
	// least wire.MinSecret bytes; empty: a random one.
	Secret []byte
	// Limits are advertised to probers and enforced.
	Limits Limits
	// EgressGap is the longest silence, whole seconds, after which a packet was
	// proven to leave the reflector's own network unaided. It is advertised, so
	// that probers don't blame a NAT for the reflector's firewall. 0: not proven.
	EgressGap time.Duration
	// Advertise are the public addresses of a machine behind a 1:1 NAT, at most
	// one for each family, as RESPONSE-ORIGIN tells them (RFC 5780 section 7.3).
	// Empty: a socket's own. They are for Serve and ServeShared; a Discovery has
	// its own.
	Advertise []netip.Addr
	// Logger gets what an operator wants to know; no client's full address.
	// Nil discards it.
	Logger *slog.Logger
}

// Validate names the field that is out of its range.
func (c Config) Validate() error {
	if n := len(c.Secret); n > 0 && n < wire.MinSecret {
		return fmt.Errorf("config: Secret has %d bytes, want at least %d", n, wire.MinSecret)
	}
	if c.EgressGap < 0 || c.EgressGap > maxDelay || c.EgressGap%time.Second != 0 {
		return fmt.Errorf("config: EgressGap is %v, want whole seconds from 0 to %v", c.EgressGap, maxDelay)
	}
	if err := validateAdvertise(c.Advertise); err != nil {
		return err
	}
	return c.Limits.validate()
}

func validateAdvertise(addrs []netip.Addr) error {
	var has [2]bool
	for _, addr := range addrs {
		addr = addr.Unmap()
		if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
			return fmt.Errorf("config: Advertise has %v, want addresses that clients can send to", addr)
		}
		if has[family(addr)] {
			return fmt.Errorf("config: Advertise is %v, want one IPv4 and one IPv6 address at most", addrs)
		}
		has[family(addr)] = true
	}
	return nil
}

func (l Limits) validate() error {
	if d := l.MaxDelay; d != 0 && (d < time.Second || d > maxDelay || d%time.Second != 0) {
		return fmt.Errorf("config: Limits.MaxDelay is %v, want whole seconds from 1s to %v", d, maxDelay)
	}
	if l.MaxCopies < 0 || l.MaxCopies > wire.MaxCopies {
		return fmt.Errorf("config: Limits.MaxCopies is %d, want 1 to %d", l.MaxCopies, wire.MaxCopies)
	}
	for _, f := range []struct {
		name             string
		value, low, high int
	}{
		{"Pending", l.Pending, Unlimited, 1 << 30},
		{"PPS", l.PPS, Unlimited, MaxPPS},
		{"SlotAddress", l.SlotAddress, Unlimited, maxSlotLimit},
		{"SlotPrefix", l.SlotPrefix, Unlimited, maxSlotLimit},
		{"Orders", l.Orders, 0, 1 << 30},
		{"Sessions", l.Sessions, 0, 1 << 30},
	} {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("config: Limits.%s is %d, want %d to %d", f.name, f.value, f.low, f.high)
		}
	}
	return nil
}

// networkPPS returns the plain STUN requests a second that a network may send, and
// the messages without a good token, or Unlimited.
func (l Limits) networkPPS() int {
	if l.PPS == Unlimited {
		return Unlimited
	}
	return l.PPS * networkRate
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	l.MaxDelay = orDefault(l.MaxDelay, DefaultMaxDelay)
	l.MaxCopies = orDefault(l.MaxCopies, DefaultMaxCopies)
	l.Pending = orDefault(l.Pending, DefaultPending)
	l.PPS = orDefault(l.PPS, DefaultPPS)
	l.SlotAddress = orDefault(l.SlotAddress, DefaultSlotAddress)
	l.SlotPrefix = orDefault(l.SlotPrefix, DefaultSlotPrefix)
	l.Orders = orDefault(l.Orders, DefaultOrders)
	l.Sessions = orDefault(l.Sessions, DefaultSessions)
	return l
}

func orDefault[T int | time.Duration](value, def T) T {
	if value == 0 {
		return def
	}
	return value
}

// advertised returns what a prober is told.
func (l Limits) advertised(egress time.Duration) wire.Limits {
	w := wire.Limits{
		MaxDelay:  l.MaxDelay,
		MaxCopies: l.MaxCopies,
		Pending:   l.Pending,
		PPS:       max(l.PPS, 0), // 0 on the wire: no limit
		EgressGap: egress,
	}
	if l.Pending == Unlimited {
		w.Pending = l.Orders
	}
	return w
}
