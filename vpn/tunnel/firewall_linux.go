package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// nftDeadline bounds the wait for the kernel's answer. It answers at once;
	// but where nf_tables is missing altogether it answers only once for a whole
	// batch, and the library would wait for the rest forever.
	nftDeadline = 5 * time.Second
	// register holds a rule's intermediate value; any will do.
	register = 1
)

// firewallName is the nftables table of an interface.
func firewallName(name string) string { return "natprobe-" + name }

// makeFirewall makes the table that default routes need, all of it or nothing.
// It takes the place of one that a crash left.
func makeFirewall(name string, p plan) error {
	err := changeNFT(func(c *nftables.Conn) {
		table := &nftables.Table{Name: firewallName(name), Family: nftables.TableFamilyINet}
		c.AddTable(table)
		c.DelTable(table)
		c.AddTable(table)
		chain := func(name string, hook *nftables.ChainHook, prio *nftables.ChainPriority) func([]expr.Any) {
			ch := c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: prio})
			return func(exprs []expr.Any) { c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: exprs}) }
		}
		raw := chain("guard", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
		for _, g := range p.Guarded {
			for _, a := range g.Addresses {
				raw(dropStrangers(name, a))
			}
		}
		chain("save_mark", nftables.ChainHookPostrouting, nftables.ChainPriorityMangle)(saveMark(p.Mark))
		chain("restore_mark", nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)(restoreMark(p.Mark))
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EPROTONOSUPPORT),
		errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("this kernel lacks a part of nftables, which default routes need: %w; try "+
			"`modprobe -a nf_tables nft_fib_inet nft_ct`, or set Table to off and make the routes in PostUp", err)
	}
	return fmt.Errorf("the nftables table %s can't be made: %w", firewallName(name), err)
}

// removeFirewall removes the table; one that is gone is fine.
func removeFirewall(table string) error {
	err := changeNFT(func(c *nftables.Conn) {
		c.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("the nftables table %s can't be removed: %w; try `nft delete table inet %s`", table, err, table)
	}
	return nil
}

// changeNFT sends one atomic change.
func changeNFT(build func(*nftables.Conn)) error {
	c, err := nftables.New(nftables.WithSockOptions(func(c *mdlayher.Conn) error {
		return c.SetDeadline(time.Now().Add(nftDeadline))
	}))
	if err != nil {
		return err
	}
	build(c)
	return c.Flush()
}

// dropStrangers drops what is for an address of the tunnel, came in elsewhere,
// and is not from this machine: without it anyone on the local network could try
// out whether the address is ours, and inject into its connections
// (CVE-2019-14899).
func dropStrangers(name string, to netip.Addr) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16) // of the destination in an IPv4 header
	if to.Is6() {
		family, offset = unix.NFPROTO_IPV6, 24
	}
	address := to.AsSlice()
	link := make([]byte, unix.IFNAMSIZ)
	copy(link, name)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{family}},
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: link},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(address))}, //nolint:gosec // 4 or 16
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: address},
		&expr.Fib{Register: register, FlagSADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// saveMark remembers, with a flow of the tunnel's own packets, their mark.
func saveMark(mark uint32) []expr.Any {
	return append(udp(),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: register, SourceRegister: true})
}

// restoreMark gives the replies the same mark. Only them: packets of other flows
// may carry marks of their own.
func restoreMark(mark uint32) []expr.Any {
	return append(udp(),
		&expr.Ct{Key: expr.CtKeyMARK, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register, SourceRegister: true})
}

func udp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.IPPROTO_UDP}},
	}
}
