package natlab

import (
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// permissions is a set in the box's table: ports of endpoints inside, each
	// with a remote address that may send there.
	permissions   = "permissions"
	permissionsID = 1 // tells the sets of one change of rules apart

	// These hold a port and an address as one key. They have 4 bytes each; an
	// address that is longer goes on in those that follow.
	portRegister, addrRegister = unix.NFT_REG32_00, unix.NFT_REG32_01
)

// end is one of the two ends that a packet's headers name.
type end uint32

const (
	source end = iota
	destination
)

// loadPort loads the port of one end of a UDP packet.
func loadPort(e end, to uint32) expr.Any {
	const length = 2
	return &expr.Payload{DestRegister: to, Base: expr.PayloadBaseTransportHeader, Offset: uint32(e) * length, Len: length}
}

// loadAddr loads the address of one end of a packet.
func loadAddr(e end, family Family, to uint32) expr.Any {
	offset, length := uint32(12), uint32(4)
	if family == IPv6 {
		offset, length = 8, 16
	}
	return &expr.Payload{DestRegister: to, Base: expr.PayloadBaseNetworkHeader, Offset: offset + uint32(e)*length, Len: length}
}

// filter adds the rules for what passes through: of a firewall, what may, and
// where filtering is address-dependent, whom a packet that leaves permits to send.
func filter(conn *nftables.Conn, table *nftables.Table, rule func(...expr.Any), family Family, spec NATSpec) error {
	if spec.Filtering == AddressDependent {
		if err := addPermissions(conn, table, family, spec.Stream); err != nil {
			return err
		}
		rule(permit(family)...)
	}
	if !spec.None {
		return nil
	}
	rule(concat(knownFlow(), verdict(expr.VerdictAccept))...)
	rule(concat(from(lanLink), verdict(expr.VerdictAccept))...)
	if spec.Filtering != "" {
		rule(concat(unasked(family, spec.Filtering), verdict(expr.VerdictAccept))...)
	}
	rule(verdict(expr.VerdictDrop)...)
	return nil
}

// addPermissions adds the set of permissions, which last for some time each.
func addPermissions(conn *nftables.Conn, table *nftables.Table, family Family, last time.Duration) error {
	addr := nftables.TypeIPAddr
	if family == IPv6 {
		addr = nftables.TypeIP6Addr
	}
	return conn.AddSet(&nftables.Set{
		Table: table, Name: permissions, ID: permissionsID,
		KeyType: nftables.MustConcatSetType(nftables.TypeInetService, addr), Concatenation: true,
		Dynamic: true, HasTimeout: true, Timeout: last,
	}, nil)
}

// forgetPermissions empties the set in the namespace of the calling thread.
func forgetPermissions(family Family) error {
	return applyRules(func(conn *nftables.Conn) error {
		conn.FlushSet(&nftables.Set{Table: &nftables.Table{Name: boxTable, Family: tableFamily(family)}, Name: permissions})
		return nil
	})
}

// permit lets the address that UDP leaves for send to where it comes from, from
// now on. Packets must pass here before they are translated.
func permit(family Family) []expr.Any {
	return concat(to(wanLink), udp(), []expr.Any{
		loadPort(source, portRegister),
		loadAddr(destination, family, addrRegister),
		&expr.Dynset{SrcRegKey: portRegister, SetName: permissions, SetID: permissionsID, Operation: unix.NFT_DYNSET_OP_UPDATE},
	})
}

// unasked matches UDP that may come in from outside without belonging to a
// flow.
func unasked(family Family, filtering Filtering) []expr.Any {
	match := concat(from(wanLink), udp())
	if filtering == EndpointIndependent {
		return match
	}
	return concat(match, []expr.Any{
		loadPort(destination, portRegister),
		loadAddr(source, family, addrRegister),
		&expr.Lookup{SourceRegister: portRegister, SetName: permissions, SetID: permissionsID},
	})
}

// toItself matches what a box drops that is sent to its own outer address, or is
// nil where that is nothing.
func toItself(spec NATSpec) []expr.Any {
	switch {
	case spec.Strict:
		return from(wanLink)
	case !spec.None && spec.Filtering == AddressDependent:
		// What is filtered would be a flow to the box otherwise, which stands in
		// the way of the client's own to where it came from.
		return concat(from(wanLink), udp())
	}
	return nil
}

// handIn sends on to an address inside what was sent to one of the box, and
// keeps its port.
func handIn(family Family, outside, inside netip.Addr) []expr.Any {
	return []expr.Any{
		loadAddr(destination, family, register),
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: outside.AsSlice()},
		&expr.Immediate{Register: register, Data: inside.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: natFamily(family), RegAddrMin: register},
	}
}
