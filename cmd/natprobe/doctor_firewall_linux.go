package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// readFirewall looks for chains that drop what comes in and belongs to no known
// flow. iptables keeps its rules there too, but for its old variant.
func readFirewall(reflector []netip.Addr) firewallFact {
	var fact firewallFact
	tables, err := os.ReadFile("/proc/net/ip_tables_names")
	fact.Legacy = err == nil && slices.Contains(strings.Fields(string(tables)), "filter")

	conn, err := nftables.New()
	if err != nil {
		return unreadableFirewall(err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		return unreadableFirewall(err)
	}
	stateful := make(map[string]bool) // by table: a chain may leave that to others
	var inputs []filterChain
	for _, chain := range chains {
		rules, err := conn.GetRules(chain.Table, chain)
		if err != nil {
			return unreadableFirewall(err)
		}
		c := filterChain{Family: familyOfTable(chain.Table.Family), Table: chain.Table.Name, Name: chain.Name}
		table := c.Family + " " + c.Table
		if slices.ContainsFunc(rules, looksAtState) {
			stateful[table] = true
		}
		filters := chain.Type == nftables.ChainTypeFilter && chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookInput && c.Family != ""
		if !filters || !dropsRest(chain, rules) {
			continue
		}
		c.Spares = slices.ContainsFunc(rules, func(rule *nftables.Rule) bool { return letsIn(rule, reflector) })
		inputs = append(inputs, c)
	}
	for _, c := range inputs {
		c.Stateful = stateful[c.Family+" "+c.Table]
		fact.Chains = append(fact.Chains, c)
	}
	return fact
}

func unreadableFirewall(err error) firewallFact {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return firewallFact{Unknown: "only root may read the rules of this machine's firewall", Advice: "sudo natprobe doctor"}
	}
	return firewallFact{Unknown: fmt.Sprintf("the rules of this machine's firewall can't be read: %v", err)}
}

// familyOfTable is nft's word for the families whose input is a machine's own.
func familyOfTable(family nftables.TableFamily) string {
	switch family {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	default:
		return ""
	}
}

// dropsRest tells whether a chain drops what none of its rules lets in: by its
// policy, or by a last rule without conditions.
func dropsRest(chain *nftables.Chain, rules []*nftables.Rule) bool {
	if chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
		return true
	}
	if len(rules) == 0 {
		return false
	}
	drops := false
	for _, e := range rules[len(rules)-1].Exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log, *expr.Limit:
		case *expr.Verdict:
			drops = e.Kind == expr.VerdictDrop
		case *expr.Reject:
			drops = true
		case *expr.Target:
			drops = e.Name == "REJECT" || e.Name == "DROP"
		default:
			return false
		}
	}
	return drops
}

// looksAtState tells whether a rule regards the flow that a packet belongs to.
func looksAtState(rule *nftables.Rule) bool {
	return slices.ContainsFunc(rule.Exprs, func(e expr.Any) bool {
		switch e := e.(type) {
		case *expr.Ct:
			return e.Key == expr.CtKeySTATE
		case *expr.Match:
			return e.Name == "conntrack" || e.Name == "state"
		default:
			return false
		}
	})
}

// letsIn tells whether a rule accepts what comes from one of some addresses,
// whatever flow it belongs to.
func letsIn(rule *nftables.Rule, addrs []netip.Addr) bool {
	if looksAtState(rule) {
		return false
	}
	from, accepts := false, false
	for _, e := range rule.Exprs {
		switch e := e.(type) {
		case *expr.Cmp:
			from = from || e.Op == expr.CmpOpEq && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return bytes.Equal(a.AsSlice(), e.Data) })
		case *expr.Verdict:
			accepts = e.Kind == expr.VerdictAccept
		}
	}
	return from && accepts
}
