package natlab

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	boxTable  = "natprobe"      // what the box does
	pathTable = "natprobe_path" // what the line outside of it does

	// ruleDeadline bounds the wait for the kernel's answer. It answers at
	// once; but where nf_tables is missing altogether it answers only once
	// for a whole batch, and the library would wait for the rest forever.
	ruleDeadline = 5 * time.Second

	// Registers hold a rule's intermediate values. Each has 16 bytes, enough
	// for an address.
	register                  = 1
	lowRegister, highRegister = 2, 3

	dnsTimeout = "dns" // a name in the box's table
)

func tableFamily(f Family) nftables.TableFamily {
	if f == IPv6 {
		return nftables.TableFamilyIPv6
	}
	return nftables.TableFamilyIPv4
}

// natFamily is tableFamily for what translates.
func natFamily(f Family) uint32 {
	if f == IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// applyRules sends one atomic change of the rules of the calling thread's
// namespace.
func applyRules(build func(*nftables.Conn) error) error {
	conn, err := nftables.New(nftables.WithSockOptions(func(c *mdlayher.Conn) error {
		return c.SetDeadline(time.Now().Add(ruleDeadline))
	}))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := build(conn); err != nil {
		return fmt.Errorf("write nftables rules: %w", err)
	}
	err = conn.Flush()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EPROTONOSUPPORT),
		errors.Is(err, os.ErrDeadlineExceeded):
		return unavailable("this kernel lacks a part of nftables (%w); try "+
			"`sudo modprobe -a nf_tables nft_chain_nat nft_masq nft_nat nft_ct nft_numgen`", err)
	case errors.Is(err, os.ErrPermission):
		return unavailable("no permission to set nftables rules (%w); run as root", err)
	}
	return fmt.Errorf("set nftables rules: %w", err)
}

// boxRules makes the namespace of the calling thread a NAT or a firewall. Its
// interfaces are wanLink and lanLink; outside are its addresses there, and client
// is from where the client's packets come to it.
func boxRules(family Family, spec NATSpec, outside []netip.Addr, client netip.Addr) error {
	return applyRules(func(conn *nftables.Conn) error {
		table := conn.AddTable(&nftables.Table{Name: boxTable, Family: tableFamily(family)})
		accept := nftables.ChainPolicyAccept
		chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) func(...expr.Any) {
			c := conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: prio, Policy: &accept})
			return func(exprs ...expr.Any) { conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: exprs}) }
		}
		if spec.None || spec.Filtering == AddressDependent {
			rule := chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
			if err := filter(conn, table, rule, family, spec); err != nil {
				return err
			}
		}
		if !spec.None {
			rule := chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
			translate(rule, family, spec, outside)
		}
		if !spec.None && spec.Filtering != "" {
			// Packets of flows that there are don't pass here.
			rule := chain("unasked", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
			for _, addr := range outside {
				rule(concat(unasked(family, spec.Filtering), handIn(family, addr, client))...)
			}
		}
		if dropped := toItself(spec); dropped != nil {
			rule := chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
			rule(concat(dropped, verdict(expr.VerdictDrop))...)
		}
		if spec.DNS > 0 {
			addTimeout(conn, table, spec.DNS)
			// A flow gets it while it is new, after conntrack has made it.
			rule := chain("prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)
			rule(concat(udpTo(dnsPort), []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCtTimeout), Name: dnsTimeout}})...)
		}
		return nil
	})
}

// translate adds the rules for what leaves. Where there are several addresses
// each new flow draws one.
func translate(rule func(...expr.Any), family Family, spec NATSpec, outside []netip.Addr) {
	if len(outside) == 1 && spec.Ports == 0 {
		// As routers do it.
		rule(concat(to(wanLink), []expr.Any{&expr.Masq{FullyRandom: spec.RandomPorts}})...)
		return
	}
	for i, addr := range outside {
		nat := &expr.NAT{Type: expr.NATTypeSourceNAT, Family: natFamily(family), RegAddrMin: register, FullyRandom: spec.RandomPorts}
		match := to(wanLink)
		if rest := len(outside) - i; rest > 1 {
			match = concat(match, share(1/float64(rest)))
		}
		values := []expr.Any{&expr.Immediate{Register: register, Data: addr.AsSlice()}}
		if spec.Ports > 0 {
			nat.RegProtoMin, nat.RegProtoMax = lowRegister, highRegister
			values = append(values,
				&expr.Immediate{Register: lowRegister, Data: binaryutil.BigEndian.PutUint16(firstPort)},
				&expr.Immediate{Register: highRegister, Data: binaryutil.BigEndian.PutUint16(uint16(firstPort + spec.Ports - 1))}) //nolint:gosec // validated
		}
		rule(concat(match, values, []expr.Any{nat})...)
	}
}

// addTimeout adds a timeout of conntrack that doesn't look at what a UDP flow
// has seen.
func addTimeout(conn *nftables.Conn, table *nftables.Table, d time.Duration) {
	seconds := uint32(d / time.Second) //nolint:gosec // validated
	timeoutDefaults.Lock()
	defer timeoutDefaults.Unlock()
	conn.AddObj(&nftables.NamedObj{
		Table: table, Name: dnsTimeout, Type: nftables.ObjTypeCtTimeout,
		Obj: &expr.CtTimeout{
			L4Proto: unix.IPPROTO_UDP,
			Policy:  expr.CtStatePolicyTimeout{expr.CtStateUDPUNREPLIED: seconds, expr.CtStateUDPREPLIED: seconds},
		},
	})
}

// timeoutDefaults guards the library's table of timeouts, which it changes with
// each timeout object that it writes (expr.CtStateUDPTimeoutDefaults).
var timeoutDefaults sync.Mutex

// lossRules makes the namespace of the calling thread lose a share of what
// arrives on some links, before anything else there (conntrack above all) sees it.
// Dropping on arrival is what a line does; a drop on departure would tell the
// sending program by an error.
func lossRules(family Family, links []string, loss float64) error {
	return applyRules(func(conn *nftables.Conn) error {
		table := conn.AddTable(&nftables.Table{Name: pathTable, Family: tableFamily(family)})
		conn.FlushTable(table)
		chain := conn.AddChain(&nftables.Chain{
			Name: "arrival", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
		})
		for _, link := range links {
			if loss == 0 {
				break
			}
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain,
				Exprs: concat(from(link), share(loss), verdict(expr.VerdictDrop))})
		}
		return nil
	})
}

func concat(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func from(link string) []expr.Any { return linkIs(expr.MetaKeyIIFNAME, link) }
func to(link string) []expr.Any   { return linkIs(expr.MetaKeyOIFNAME, link) }

func linkIs(key expr.MetaKey, link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{
		&expr.Meta{Key: key, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: name},
	}
}

func udp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.IPPROTO_UDP}},
	}
}

// udpTo matches UDP to a port.
func udpTo(port uint16) []expr.Any {
	return concat(udp(), []expr.Any{
		loadPort(destination, register),
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.BigEndian.PutUint16(port)},
	})
}

// knownFlow matches what belongs to a flow that conntrack has, or reports an
// error about one.
func knownFlow() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: register},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
			Xor:  binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

// share matches a random share of packets, each independently of the others.
func share(p float64) []expr.Any {
	return []expr.Any{
		&expr.Numgen{Register: register, Modulus: lossParts, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: register,
			Data: binaryutil.BigEndian.PutUint32(uint32(math.Round(p * lossParts)))},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }
